// Package fib keeps host routes in the kernel: towards a locator, by the next
// hop that the kernel itself would use for it, followed when that changes, and
// put back when somebody takes one away.
package fib
