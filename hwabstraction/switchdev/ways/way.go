package ways

import (
	"errors"
	"net/netip"
)

// ErrUnclear means that the kernel would decide packet by packet: several next
// hops, none, or one whose MAC is not known.
var ErrUnclear = errors.New("ways: no single next hop")

// Port is a network interface, as it is now.
type Port struct {
	Index int32
	MAC   [6]byte
	MTU   int // bytes, from the IP header on
}

// Hop is the one next hop of some destination.
type Hop struct {
	Port        int32   // leads there
	Source      [6]byte // that port's MAC
	Destination [6]byte // the next hop's MAC
	MTU         int     // of the port or of the route, whichever is smaller
}

// Exit is where packets go that nothing more specific claims.
type Exit struct {
	Hop
	// Except are the destinations that go another way: the host's own
	// addresses, its links, routes with another next hop.
	Except []netip.Prefix
}
