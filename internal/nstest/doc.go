// Package nstest runs a test in a network namespace of its own: never in that
// of the machine.
package nstest
