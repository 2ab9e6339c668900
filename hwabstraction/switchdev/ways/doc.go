// Package ways asks the kernel where packets go: which ports there are, and
// through which one next hop an address is reached, if that is plain. It changes
// nothing and remembers nothing.
package ways
