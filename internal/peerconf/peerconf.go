package peerconf

import (
	"fmt"
	"net/netip"

	"github.com/dpmip/dpmip/internal/strictconf"
	"github.com/dpmip/dpmip/mobility/transport"
	"github.com/dpmip/dpmip/mobility/wire"
)

// Key is one security association with a peer: one secret, one SPI a direction.
// Several may be live for a roll-over; the first is used to send.
type Key struct {
	Send      uint32         `toml:"send,required"`    // SPI of messages to the peer
	Receive   uint32         `toml:"receive,required"` // SPI of messages from the peer
	Algorithm Algorithm      `toml:"algorithm"`
	Secret    strictconf.Key `toml:"key,required"`
}

// Algorithm is that of the authenticator; the zero value is hmac-sha256.
type Algorithm wire.Algorithm

// UnmarshalText reads hmac-sha256 or hmac-sha1-96.
func (a *Algorithm) UnmarshalText(b []byte) error {
	switch string(b) {
	case "hmac-sha256":
		*a = Algorithm(wire.HMACSHA256)
	case "hmac-sha1-96":
		*a = Algorithm(wire.HMACSHA1)
	default:
		return fmt.Errorf("%q is not known, want hmac-sha256 or hmac-sha1-96", b)
	}
	return nil
}

func (k Key) transport(spi uint32) transport.Key {
	alg := wire.Algorithm(k.Algorithm)
	if alg == 0 {
		alg = wire.HMACSHA256
	}
	return transport.Key{SPI: spi, Algorithm: alg, Secret: k.Secret.Bytes()}
}

// Peer gives a peer with its keys: the first is sent with, all are accepted.
func Peer(locator netip.Addr, keys []Key) transport.Peer {
	p := transport.Peer{Addr: locator}
	for i, k := range keys {
		p.Receive = append(p.Receive, k.transport(k.Receive))
		if i == 0 {
			p.Send = k.transport(k.Send)
		}
	}
	return p
}

// Management is a [[management]] table: a management node of an agent or router.
type Management struct {
	Locator strictconf.Addr `toml:"locator,required"`
	Keys    []Key           `toml:"keys"`
}

// Locators lists where the management nodes are.
func Locators(list []Management) []netip.Addr {
	var out []netip.Addr
	for _, m := range list {
		out = append(out, m.Locator.Addr)
	}
	return out
}

// Peers lists the management nodes with their keys.
func Peers(list []Management) []transport.Peer {
	var out []transport.Peer
	for _, m := range list {
		out = append(out, Peer(m.Locator.Addr, m.Keys))
	}
	return out
}

// Check refuses management nodes of which nothing would be accepted, and keys
// that the transport cannot tell apart.
func Check(src *strictconf.Source, list []Management, insecure bool) error {
	for i, m := range list {
		if len(m.Keys) == 0 && !insecure {
			return src.Errorf(fmt.Sprintf("management[%d].keys", i), "is empty: without a key nothing is accepted (or set insecure_accept_unauthenticated)")
		}
	}
	if _, err := transport.NewTable(Peers(list), insecure); err != nil {
		return src.Errorf("management", "%v", err)
	}
	return nil
}
