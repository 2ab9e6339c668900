// Package rtnl programs host routes in batches: many rtnetlink messages in one
// send, an acknowledgement asked for on the last only, the answer of each
// failed one matched by its sequence number.
//
// It exists because a netlink library that waits for each answer is four to
// six times slower (docs/benchmarks.md); everything that is not a bulk write
// goes through github.com/vishvananda/netlink.
package rtnl
