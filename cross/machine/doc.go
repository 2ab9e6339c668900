// Package machine is what PID 1 does to the kernel before it starts anything:
// mounts, modules, sysctls, addresses and routes, and the configuration
// partition, found by its label.
package machine
