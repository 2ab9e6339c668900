// Package traffic counts what endpoints see: numbered UDP streams both ways,
// long-lived TCP connections with numbered requests and responses, attempts at
// new connections, and large datagrams.
//
// Everything runs in this process, on sockets made inside the endpoints'
// namespaces, so that a run has one clock. Processes of a paused VM do not run:
// their sending is gated (guest.Gate). Figures are compared by number after a
// stop protocol: senders stop, what is under way arrives or is lost, then both
// ends are read.
package traffic
