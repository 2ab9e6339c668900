// Package guard keeps tests from leaving anything behind: goroutines within a
// test binary, namespaces, mounts, ports and processes after it.
package guard
