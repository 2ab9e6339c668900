// Package transport carries Mobility Header messages between nodes: over raw
// IPv6 sockets of protocol 135 bound to the node's locator, and over UDP 5436
// where the underlay is IPv4.
//
// What comes in is checked in an order that costs a stranger's message next to
// nothing: allow-list of source addresses, then the codec, then the SPI, then
// the authenticator. Every silent drop has a counter. What goes out is signed,
// and sent in batches.
//
// A raw socket on Linux computes and verifies the checksum by itself but
// delivers lying header lengths, trailing bytes and foreign payload protocols
// alike; the codec refuses them. Two sockets on one locator would each get a
// copy of everything, so a lock file admits one only.
package transport
