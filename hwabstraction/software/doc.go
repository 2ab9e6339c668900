// Package software implements hwabstraction.Device with tc-eBPF programs and
// kernel routes, on veth, tap or any other netdev.
//
// Everything that forwards lives in the kernel, pinned below Config.BPFDir or
// written into its tables: the death of the process changes nothing, and the
// next Open finds the rules, groups, counters and holds as they are.
//
// # Parts
//
//   - bpf/: the programs fabric_in and vm_in. dsts maps an address to slots of
//     rules; a rule slot is immutable once published and names its group; the
//     state of a group is one word, so that Arm and Activate are one store.
//     Programs are pinned, too: verifying them takes longer than all else of a
//     start, and a successor that would load the same takes them as they are.
//   - Delivery marks a packet and lets the kernel's stack route it by table
//     7001 (address -> port, permanent neighbour), so that netfilter sees it.
//   - A hold is an ifb whose root qdisc passes nothing. Released packets go on
//     into the stack, and later ones go behind them until it is empty.
//   - Packets the source cannot redirect (too large, hop limit used up,
//     rejected) are marked and routed into a loop port whose routes have the
//     path's MTU: the kernel answers or fragments them, and fragments come back
//     to fabric_in at the loop's other end.
package software
