// Package qemu boots the firmware image on an emulated arm64 machine: the real
// kernel, the real PID 1, a disk for the configuration partition, and a serial
// port over which a payload inside reports results as JSON, a line each. A
// missing result is a failure; QEMU's own exit status says nothing.
package qemu
