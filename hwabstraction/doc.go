// Package hwabstraction is the contract between what dpmip means and what a
// NIC, an e-switch or a kernel can do: rules, stamps, placements, counters,
// flows, ports and regions of NIC memory.
//
// It knows no protocol and imports the standard library only. Backends
// (software, switchdev) implement Device; package haltest holds the suite that
// each of them passes; package detect chooses one.
//
// # How a packet is decided
//
// A packet that enters by the fabric port or by a VM port is looked up by its
// destination address. At one address a Redirect and a Deliver may stand at
// the same time; the one with the higher epoch whose group is switched on
// wins (an equal epoch: Deliver). A Deliver with a Restore address first writes
// that address, and then the restored address is decided again, once: so a
// packet to a delivery address of a VM that has left is restored and
// redirected. What nothing claims goes where the kernel's routes lead.
//
// # Groups
//
// All Redirects and Delivers of one Stamp form a group. Switching a group
// (Arm, Disarm, Activate, GiveBack) is one atomic step for all its addresses,
// microseconds, and needs no rule to be written.
package hwabstraction
