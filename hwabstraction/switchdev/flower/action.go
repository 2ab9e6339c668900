package flower

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Action is one of Conntrack, Rewrite, Checksum, Redirect, Goto, Drop, Trap.
type Action interface {
	kind() string // as tc names it
	ends() bool   // the packet goes no further in this chain
	validate(f Filter) error
	// appendOptions appends the attributes within the action's options.
	appendOptions(b []byte, ipv4 bool) []byte
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

// Attributes of an action, TCA_ACT_*, and of its options.
const (
	actKind    = 1
	actOptions = 2
	actStats   = 4
	actCookie  = 6

	ctParms  = 1
	ctTime   = 2
	ctAction = 3
	ctZone   = 4
	ctCommit = 1 // of ctAction

	csumParms = 1
	csumTime  = 2

	// gact and mirred number theirs alike.
	endTime  = 1
	endParms = 2

	egressRedirect = 1
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

func (Conntrack) validate(Filter) error { return nil }

func (a Checksum) validate(f Filter) error {
	switch {
	case a == 0:
		return errors.New("nothing to compute")
	case a&ChecksumIPv4 != 0 && !f.IPv4:
		return errors.New("an IPv6 header has no checksum")
	}
	return nil
}

func (a Redirect) validate(Filter) error {
	if a.Port <= 0 {
		return fmt.Errorf("port %d: not an interface index", a.Port)
	}
	return nil
}

func (a Goto) validate(Filter) error {
	if a.Chain > maxChain {
		return fmt.Errorf("chain %d: at most %d", a.Chain, maxChain)
	}
	return nil
}

func (Drop) validate(Filter) error { return nil }
func (Trap) validate(Filter) error { return nil }

// appendActions numbers the actions from 1; the last one carries the cookie.
func (f Filter) appendActions(b []byte) []byte {
	for i, a := range f.Actions {
		var action, options int
		b, action = begin(b, uint16(i+1))
		b = appendText(b, actKind, a.kind())
		b, options = beginNested(b, actOptions)
		b = end(a.appendOptions(b, f.IPv4), options)
		if i == len(f.Actions)-1 && len(f.Cookie) > 0 {
			b = appendBytes(b, actCookie, f.Cookie...)
		}
		b = end(b, action)
	}
	return b
}

// Layout of tc_gen, the beginning of every action's parameters.
const (
	genVerdict = 8 // after index and capab
	genSize    = 20
)

// appendGen appends an attribute of tc_gen and words after it.
func appendGen(b []byte, typ uint16, verdict uint32, words ...uint32) []byte {
	b, at := begin(b, typ)
	b = appendVerdict(b, verdict)
	for _, w := range words {
		b = binary.NativeEndian.AppendUint32(b, w)
	}
	return end(b, at)
}

// appendVerdict appends tc_gen alone.
func appendVerdict(b []byte, verdict uint32) []byte {
	b = append(b, make([]byte, genVerdict)...)
	b = binary.NativeEndian.AppendUint32(b, verdict)
	return append(b, make([]byte, genSize-genVerdict-4)...) // refcnt and bindcnt
}

func (a Conntrack) appendOptions(b []byte, _ bool) []byte {
	var commit uint16
	if a.Commit {
		commit = ctCommit
	}
	b = appendUint16(b, ctZone, a.Zone)
	b = appendUint16(b, ctAction, commit)
	return appendGen(b, ctParms, actPipe)
}

func (a Checksum) appendOptions(b []byte, _ bool) []byte {
	return appendGen(b, csumParms, actPipe, uint32(a))
}

func (a Redirect) appendOptions(b []byte, _ bool) []byte {
	return appendGen(b, endParms, actStolen, egressRedirect, uint32(a.Port))
}

func (a Goto) appendOptions(b []byte, _ bool) []byte {
	return appendGen(b, endParms, actGoto|a.Chain)
}

func (Drop) appendOptions(b []byte, _ bool) []byte { return appendGen(b, endParms, actShot) }
func (Trap) appendOptions(b []byte, _ bool) []byte { return appendGen(b, endParms, actTrap) }
