package transport

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/dpmip/dpmip/mobility/wire"
)

// MaxReceiveKeys is how many keys of a peer may be live in one direction: the
// old and the new one of a roll-over.
const MaxReceiveKeys = 2

// Key is one SPI: it belongs to one direction between two peers.
type Key struct {
	SPI       uint32 // at least wire.MinSPI
	Algorithm wire.Algorithm
	Secret    []byte
}

// Peer is one node that may talk to us.
type Peer struct {
	Addr netip.Addr // locator
	// Receive lists the keys of messages from the peer, at most MaxReceiveKeys.
	Receive []Key
	// Send is the key of messages to the peer; the zero Key means none.
	Send Key
}

// Table is the allow-list with its keys. It never changes; Conn.SetPeers puts
// another in its place.
type Table struct {
	peers    map[netip.Addr]*peerKeys
	owners   map[uint32]bool // every SPI of the table, both directions
	insecure bool
}

// peerKeys is one row of a Table.
type peerKeys struct {
	receive []*wire.Key
	send    *wire.Key
	to      net.Addr // for the socket of the address's family
}

// NewTable checks the peers and makes a Table. insecure is the configuration's
// insecure_accept_unauthenticated: a peer without keys is heard then. The error
// names the peer: an address or SPI given twice (an SPI that two peers or both
// directions share would let messages be reflected), a key that cannot be used.
func NewTable(peers []Peer, insecure bool) (*Table, error) {
	t := &Table{peers: make(map[netip.Addr]*peerKeys, len(peers)), owners: make(map[uint32]bool), insecure: insecure}
	for _, p := range peers {
		a := p.Addr.Unmap()
		switch {
		case !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.Zone() != "":
			return nil, fmt.Errorf("transport: peer %s: not a locator", p.Addr)
		case t.peers[a] != nil:
			return nil, fmt.Errorf("transport: peer %s: given twice", a)
		case len(p.Receive) > MaxReceiveKeys:
			return nil, fmt.Errorf("transport: peer %s: %d receive keys, at most %d", a, len(p.Receive), MaxReceiveKeys)
		}
		row, err := t.row(p)
		if err != nil {
			return nil, fmt.Errorf("transport: peer %s: %w", a, err)
		}
		t.peers[a] = row
	}
	return t, nil
}

func (t *Table) row(p Peer) (*peerKeys, error) {
	row := &peerKeys{to: &net.IPAddr{IP: p.Addr.Unmap().AsSlice()}}
	if a := p.Addr.Unmap(); a.Is4() {
		row.to = net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, Port))
	}
	for _, k := range p.Receive {
		key, err := t.key(k)
		if err != nil {
			return nil, err
		}
		row.receive = append(row.receive, key)
	}
	if p.Send.SPI == 0 && len(p.Send.Secret) == 0 {
		return row, nil
	}
	var err error
	row.send, err = t.key(p.Send)
	return row, err
}

func (t *Table) key(k Key) (*wire.Key, error) {
	if t.owners[k.SPI] {
		return nil, fmt.Errorf("SPI %d is in use already: it belongs to one direction of one pair of peers", k.SPI)
	}
	t.owners[k.SPI] = true
	return wire.NewKey(k.SPI, k.Algorithm, k.Secret)
}

// Len gives the number of peers.
func (t *Table) Len() int { return len(t.peers) }

// find gives the key that an SPI selects for messages from the peer, or nil.
func (p *peerKeys) find(spi uint32) *wire.Key {
	for _, k := range p.receive {
		if k.SPI() == spi {
			return k
		}
	}
	return nil
}
