// Package image builds the firmware's initramfs: PID 1, the programs beside it,
// the folders they expect, and nothing else. Kernel modules ride in a second
// archive, for they belong to a kernel; a loader concatenates the two.
package image
