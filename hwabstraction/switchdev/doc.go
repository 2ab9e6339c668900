// Package switchdev implements hwabstraction.Device on an e-switch in switchdev
// mode: a fast path of tc flower filters, which hardware takes where it can, in
// front of a slow path that is another Device.
//
// The slow path holds every rule and carries out the whole contract by itself.
// The fast path takes only packets whose decision is plain and settled, and
// whatever else misses it; so a filter that is refused costs speed, never
// correctness.
//
// # Parts
//
//   - model: the rules, and what the packets of an address meet (decide).
//   - plan: the filters that a VM, or a VM's port, should have.
//   - Device: keeps filters as planned. Before anything is switched or changed
//     the filters in question go: a VM's chain begins with a gate that sends all
//     of its packets to the slow path, and closing it is one filter put. Then
//     the slow path switches, in its one atomic step. Then a loop makes the
//     filters anew, and opens the gate.
//   - subpackages: flower encodes filters, tc brings them to the kernel, and
//     ways asks the kernel where packets go.
package switchdev
