// Package daemon runs an agent.Core: one loop owns it, one worker owns the
// device, and a few more carry messages, disk writes and reports.
//
// What the loop does itself takes microseconds: deciding, putting a record into
// NIC memory, arming and activating. Everything that may take longer (rules,
// flows, counters, disk, network) is handed on and comes back as a value, so
// that a release is never behind it.
package daemon
