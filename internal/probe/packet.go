package probe

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
)

// Protocol is the IP protocol of a probe: it takes the way that ordinary packets
// take, filters included.
const Protocol = 17

// Port is where probes go: that of Proxy Mobile IPv6 data (RFC 5844), which has
// no other use where nothing is tunnelled.
const Port = 5437

// Token names the proof that a probe is for.
type Token [16]byte

func (t Token) String() string { return hex.EncodeToString(t[:4]) }

// ErrToken is returned for what is no token.
var ErrToken = errors.New("probe: a token is 16 bytes")

// TokenOf reads a token.
func TokenOf(b []byte) (t Token, err error) {
	if len(b) != len(t) {
		return t, fmt.Errorf("%w, got %d", ErrToken, len(b))
	}
	return Token(b), nil
}

// Packet is a probe that has come.
type Packet struct {
	Source, Destination netip.Addr
	Token               Token
}

// The payload, after the UDP header:
//
//	 0                   1                   2                   3
//	+---------------+---------------+---------------+---------------+
//	| "DPMP"                                                        |
//	+---------------+---------------+---------------+---------------+
//	| version 1     | zero                                          |
//	+---------------+---------------+---------------+---------------+
//	| token, 16 bytes                                               |
//	+---------------+---------------+---------------+---------------+
const (
	magic      = "DPMP"
	version    = 1
	tokenAt    = 8
	payload    = tokenAt + 16
	udpHeader  = 8
	v6Header   = 40
	v4Shortest = 20
)

// Payload is what a probe carries.
func Payload(t Token) []byte {
	b := make([]byte, payload)
	copy(b, magic)
	b[len(magic)] = version
	copy(b[tokenAt:], t[:])
	return b
}

// token reads a payload.
func token(b []byte) (Token, bool) {
	if len(b) < payload || string(b[:len(magic)]) != magic || b[len(magic)] != version {
		return Token{}, false
	}
	return Token(b[tokenAt:payload]), true
}

// datagram reads what a UDP header is followed by.
func datagram(b []byte) (Token, bool) {
	if len(b) < udpHeader || binary.BigEndian.Uint16(b[2:]) != Port {
		return Token{}, false
	}
	return token(b[udpHeader:])
}

// Parse reads a packet from its IP header on; false where it is no probe.
func Parse(frame []byte) (p Packet, ok bool) {
	if len(frame) == 0 {
		return p, false
	}
	switch frame[0] >> 4 {
	case 6:
		return parse6(frame)
	case 4:
		return parse4(frame)
	}
	return p, false
}

func parse6(b []byte) (p Packet, ok bool) {
	if len(b) < v6Header || b[6] != Protocol {
		return p, false
	}
	p.Source, p.Destination = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	p.Token, ok = datagram(b[v6Header:])
	return p, ok
}

func parse4(b []byte) (p Packet, ok bool) {
	if len(b) < v4Shortest || b[9] != Protocol || binary.BigEndian.Uint16(b[6:])&0x1fff != 0 {
		return p, false
	}
	n := int(b[0]&0xf) * 4
	if n < v4Shortest || n > len(b) {
		return p, false
	}
	p.Source, p.Destination = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	p.Token, ok = datagram(b[n:])
	return p, ok
}
