// Package testbed proves the loss harness against itself: its tests move a VM
// with routes set by hand, in an order that must lose and in one that must not,
// and check that every counter of the lab tells the same story.
//
// The harness is in the packages below: netns (namespaces as values), topology
// (the data centre), selector (a VM is in one place at a time), park (frames
// wait in the kernel), guest (processes of a paused VM stop), traffic (numbered
// packets), capture (what went over the links), result (the JSON).
package testbed
