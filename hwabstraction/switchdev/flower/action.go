package flower

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
)

// Action is one of Conntrack, Rewrite, Checksum, Redirect, Goto, Drop, Trap.
type Action interface {
	kind() string // as tc names it
	ends() bool   // the packet goes no further in this chain
	validate(ipv4 bool) error
	encode(ae *netlink.AttributeEncoder, ipv4 bool)
}

// Conntrack sends the packet through conntrack in a zone; committed, its
// connection is remembered.
type Conntrack struct {
	Zone   uint16
	Commit bool
}

// Checksum computes checksums again after a Rewrite.
type Checksum uint32

// What Checksum computes, TCA_CSUM_UPDATE_FLAG_*.
const (
	ChecksumIPv4 Checksum = 1 << 0
	ChecksumICMP Checksum = 1 << 1 // ICMPv6 as well
	ChecksumTCP  Checksum = 1 << 3
	ChecksumUDP  Checksum = 1 << 4
)

// Redirect sends the packet out of a port.
type Redirect struct{ Port int32 }

// Goto goes on in another chain of the same port.
type Goto struct{ Chain uint32 }

// Drop ends the packet.
type Drop struct{}

// Trap gives the packet to the processor: what hardware matched is seen by the
// kernel.
type Trap struct{}

// Verdicts of an action, TC_ACT_*.
const (
	actShot   = 2
	actPipe   = 3
	actStolen = 4
	actTrap   = 8
	actGoto   = 2 << 28

	maxChain  = 1<<28 - 1
	maxCookie = 16
)

// Attributes of an action.
const (
	actKind    = 1
	actOptions = 2
	actCookie  = 6
)

func (Conntrack) kind() string { return "ct" }
func (Checksum) kind() string  { return "csum" }
func (Redirect) kind() string  { return "mirred" }
func (Goto) kind() string      { return "gact" }
func (Drop) kind() string      { return "gact" }
func (Trap) kind() string      { return "gact" }

func (Conntrack) ends() bool { return false }
func (Checksum) ends() bool  { return false }
func (Redirect) ends() bool  { return true }
func (Goto) ends() bool      { return true }
func (Drop) ends() bool      { return true }
func (Trap) ends() bool      { return true }

func (Conntrack) validate(bool) error { return nil }

func (a Checksum) validate(ipv4 bool) error {
	switch {
	case a == 0:
		return errors.New("nothing to compute")
	case a&ChecksumIPv4 != 0 && !ipv4:
		return errors.New("an IPv6 header has no checksum")
	}
	return nil
}

func (a Redirect) validate(bool) error {
	if a.Port <= 0 {
		return fmt.Errorf("port %d: not an interface index", a.Port)
	}
	return nil
}

func (a Goto) validate(bool) error {
	if a.Chain > maxChain {
		return fmt.Errorf("chain %d: at most %d", a.Chain, maxChain)
	}
	return nil
}

func (Drop) validate(bool) error { return nil }
func (Trap) validate(bool) error { return nil }

// encodeActions numbers the actions from 1; the last one carries the cookie.
func encodeActions(actions []Action, ipv4 bool, cookie []byte) ([]byte, error) {
	list := netlink.NewAttributeEncoder()
	for i, a := range actions {
		list.Do(uint16(i+1), func() ([]byte, error) {
			ae := netlink.NewAttributeEncoder()
			ae.String(actKind, a.kind())
			ae.Nested(actOptions, func(ae *netlink.AttributeEncoder) error {
				a.encode(ae, ipv4)
				return nil
			})
			if i == len(actions)-1 && len(cookie) > 0 {
				ae.Bytes(actCookie, cookie)
			}
			return ae.Encode()
		})
	}
	return list.Encode()
}

// gen is tc_gen, the beginning of every action's parameters, and words after it.
func gen(verdict uint32, words ...uint32) []byte {
	b := make([]byte, 8, 20+4*len(words)) // index and capab
	b = binary.NativeEndian.AppendUint32(b, verdict)
	b = append(b, make([]byte, 8)...) // refcnt and bindcnt
	for _, w := range words {
		b = binary.NativeEndian.AppendUint32(b, w)
	}
	return b
}

func (a Conntrack) encode(ae *netlink.AttributeEncoder, _ bool) {
	var commit uint16
	if a.Commit {
		commit = 1
	}
	ae.Uint16(4, a.Zone)      // TCA_CT_ZONE
	ae.Uint16(3, commit)      // TCA_CT_ACTION
	ae.Bytes(1, gen(actPipe)) // TCA_CT_PARMS
}

func (a Checksum) encode(ae *netlink.AttributeEncoder, _ bool) {
	ae.Bytes(1, gen(actPipe, uint32(a))) // TCA_CSUM_PARMS
}

func (a Redirect) encode(ae *netlink.AttributeEncoder, _ bool) {
	const egressRedirect = 1
	ae.Bytes(2, gen(actStolen, egressRedirect, uint32(a.Port))) // TCA_MIRRED_PARMS
}

func (a Goto) encode(ae *netlink.AttributeEncoder, _ bool) { ae.Bytes(2, gen(actGoto|a.Chain)) }
func (Drop) encode(ae *netlink.AttributeEncoder, _ bool)   { ae.Bytes(2, gen(actShot)) }
func (Trap) encode(ae *netlink.AttributeEncoder, _ bool)   { ae.Bytes(2, gen(actTrap)) }
