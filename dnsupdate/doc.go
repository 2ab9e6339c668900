// Package dnsupdate publishes a VM's addresses in the DNS, securely and in
// order (RFC 2136, RFC 3007, RFC 8945).
//
// A State says what the DNS should hold for one VM: its service list, the
// addresses that are published, those that are not any more, a TTL, and a
// Version. Plan turns it into one Update per zone. Beside every name a private
// TXT record, _dpmip-epoch.NAME, holds the Version that wrote it last; it is
// read first, and its exact value is the prerequisite of the update, so that a
// late update of an earlier host fails (ErrStale) and nothing is written. A
// State is complete: the newest one makes every earlier one unnecessary.
//
// Machine is the pure core (read, write, prove, back-off; Step and Tick give
// effects), Updater the task that owns the sockets, Job the value that lets
// another node take over. Prove asks every server of a zone until it has seen
// the update's serial and its records there.
//
// Messages travel over TCP only, each signed and verified for itself.
package dnsupdate
