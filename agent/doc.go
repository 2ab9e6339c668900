// Package agent decides for one hypervisor: which VMs it registers, what it
// reserves for those that arrive, what it redirects for those that left. It is
// the mobile access gateway of RFC 5213 section 6 with the moves of
// docs/moves.md.
//
// Core is pure: Step takes an event and the time and gives effects. It has no
// goroutine, socket, clock or log, and does not touch a device. Whoever runs
// it (package daemon, or the simulator) carries the effects out in order and
// brings the result of each one that has a Ref back as a Result.
//
// # Durable before acknowledged
//
// A Record holds all that must outlive the process. Every change of it is put
// (Persist) before the answer that acknowledges it is given.
//
// # Release
//
// Release needs one device call (Switch, Arm) and nothing else: no disk, no
// network, no rule to be written, and it does not wait for other work on the
// same VM.
package agent
