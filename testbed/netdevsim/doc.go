// Package netdevsim drives the kernel's simulated switch: a device that takes
// the routes of its network namespace into a table of limited size, and refuses
// to offload them when told to. Debian has no such module: make
// testbed-netdevsim builds it.
package netdevsim
