// Package netns makes network namespaces as values: a Set owns everything it
// creates (namespaces, mounts, processes, files) and removes it on Close.
//
// Only the network namespace is entered, with setns on a locked thread; mounts,
// /sys and bpffs stay the host's. The host's own network namespace is never
// changed. Everything of a Set lies below one run directory, guarded by a file
// lock, so that Sweep can tell what a killed run left behind.
package netns
