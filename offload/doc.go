// Package offload is the bridge between what this system means (which VM is
// delivered, redirected, held) and what a NIC can do: it turns the binding of a
// VM into the rules a device should hold, and keeps a device in that state.
//
// Plan is pure: the same binding and capabilities give the same rules. The
// Reconciler carries the rules out and goes on until the device holds them.
//
// # Stamps
//
// The owner of every rule is a hash of the VM identifier (Owner). Its epoch is
// that of the group it belongs to: what the VM is delivered by has the epoch
// under which it arrived here (N), what it is redirected by has the epoch under
// which it left (N+1). A rule of a lower epoch never overrides one of a higher.
package offload
