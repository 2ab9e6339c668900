// Package tc puts flower filters into a kernel and reads them back: many
// messages in one send, the answer of each matched by its sequence number,
// whatever the kernel could not answer read out of the kernel itself.
//
// The kernel carries out a batch within the send, and its answers lie in the
// socket when that returns: nothing here ever waits for the kernel.
package tc
