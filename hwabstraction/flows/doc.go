// Package flows tells the flows of a VM from the kernel's conntrack: the
// FlowSource of every backend whose packets pass the kernel's stack.
package flows
