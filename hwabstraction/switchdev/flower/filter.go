package flower

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// State is a set of conntrack states, TCA_FLOWER_KEY_CT_FLAGS_*.
type State uint16

// Conntrack states.
const (
	New         State = 1 << iota
	Established       // seen in both directions, or accepted mid-stream
	Related
	Tracked
	Invalid
	Reply
)

// Match is what a packet must be. Zero fields match everything.
type Match struct {
	Source, Destination netip.Addr // of the filter's family
	Protocol            uint8      // IP protocol; 0 = any
	Flags, FlagsMask    uint16     // TCP flags; acts where FlagsMask is not 0 and Protocol is 6
	State               State      // all of these must be set
	Zone                uint16     // conntrack zone; 0 = any
}

// Filter is one flower filter on the ingress side of a port's clsact qdisc.
type Filter struct {
	Port     int32  // interface index
	Chain    uint32 // below 1 << 28
	Priority uint16 // at least 1; a lower one is asked first. In one chain it is of one family: the kernel refuses the other (EINVAL)
	Handle   uint32 // 0 = the kernel chooses. Two handles with one match in one priority: EEXIST
	IPv4     bool   // else IPv6
	SkipHW   bool   // in the kernel only
	SkipSW   bool   // in hardware only: refused where the port cannot
	Match    Match
	Actions  []Action // at least one, at most 32 (TCA_ACT_MAX_PRIO); the last one ends the packet's way
	Cookie   []byte   // whose it is: at most 16 bytes, kept by the last action and given back in dumps
}

// Attributes of a filter and of flower, linux/rtnetlink.h and linux/pkt_cls.h.
const (
	tcaKind    = 1
	tcaOptions = 2
	tcaChain   = 11

	keyActions    = 3
	keyEthType    = 8
	keyProtocol   = 9
	keyIPv4Src    = 10
	keyIPv4Dst    = 12
	keyIPv6Src    = 14
	keyIPv6Dst    = 16
	keyFlags      = 22
	keyTCPFlags   = 71
	keyTCPMask    = 72
	keyState      = 91
	keyStateMask  = 92
	keyZone       = 93
	keyZoneMask   = 94
	ingressParent = 0xfffffff2 // TC_H_CLSACT, TC_H_MIN_INGRESS
	maxActions    = 32
)

// Flags of a classifier, TCA_CLS_FLAGS_*.
const (
	skipHW = 1 << 0
	skipSW = 1 << 1
)

// Validate reports a filter that no kernel takes, naming the field.
func (f Filter) Validate() error {
	switch m := f.Match; {
	case f.Port <= 0:
		return fmt.Errorf("flower: port %d: not an interface index", f.Port)
	case f.Priority == 0:
		return fmt.Errorf("flower: priority 0: the kernel would choose one")
	case f.Chain > maxChain:
		return fmt.Errorf("flower: chain %d: at most %d", f.Chain, maxChain)
	case f.SkipHW && f.SkipSW:
		return fmt.Errorf("flower: skip_hw and skip_sw: the filter would be nowhere")
	case len(f.Cookie) > maxCookie:
		return fmt.Errorf("flower: cookie of %d bytes: at most %d", len(f.Cookie), maxCookie)
	case m.Source.IsValid() && m.Source.Is4() != f.IPv4:
		return fmt.Errorf("flower: source %s: of the other family", m.Source)
	case m.Destination.IsValid() && m.Destination.Is4() != f.IPv4:
		return fmt.Errorf("flower: destination %s: of the other family", m.Destination)
	case m.FlagsMask != 0 && m.Protocol != unix.IPPROTO_TCP:
		return fmt.Errorf("flower: TCP flags with protocol %d: want %d", m.Protocol, unix.IPPROTO_TCP)
	}
	if err := f.Match.State.validate(); err != nil {
		return err
	}
	return f.validateActions()
}

// validate refuses what the kernel's fl_validate_ct_state refuses.
func (s State) validate() error {
	switch {
	case s != 0 && s&Tracked == 0:
		return fmt.Errorf("flower: state %#x: without trk no other can be asked for", uint16(s))
	case s&New != 0 && s&(Established|Reply) != 0:
		return fmt.Errorf("flower: state %#x: new excludes est and rpl", uint16(s))
	case s&Invalid != 0 && s&^(Invalid|Tracked) != 0:
		return fmt.Errorf("flower: state %#x: inv stands with trk alone", uint16(s))
	}
	return nil
}

func (f Filter) validateActions() error {
	if n := len(f.Actions); n == 0 || n > maxActions {
		return fmt.Errorf("flower: %d actions: want 1 to %d", n, maxActions)
	}
	for i, a := range f.Actions {
		if last := i == len(f.Actions)-1; a.ends() != last {
			return fmt.Errorf("flower: action %d of %d (%s): only the last one ends the packet's way", i+1, len(f.Actions), a.kind())
		}
		if err := a.validate(f.IPv4); err != nil {
			return fmt.Errorf("flower: action %d of %d (%s): %w", i+1, len(f.Actions), a.kind(), err)
		}
	}
	return nil
}

// Add is the request that puts the filter, and fails where one of the same
// port, chain, priority and handle is (NLM_F_EXCL).
func (f Filter) Add() (netlink.Message, error) {
	return f.message(netlink.Create | netlink.Excl)
}

// Replace is the request that puts the filter in place of the one with the same
// port, chain, priority and handle: one atomic step for the packets.
func (f Filter) Replace() (netlink.Message, error) { return f.message(netlink.Create) }

func (f Filter) message(flags netlink.HeaderFlags) (netlink.Message, error) {
	if err := f.Validate(); err != nil {
		return netlink.Message{}, err
	}
	ae := netlink.NewAttributeEncoder()
	ae.Uint32(tcaChain, f.Chain)
	ae.String(tcaKind, "flower")
	ae.Do(tcaOptions, f.options)
	attrs, err := ae.Encode()
	if err != nil {
		return netlink.Message{}, fmt.Errorf("flower: %w", err)
	}
	return netlink.Message{
		Header: netlink.Header{
			Type:  unix.RTM_NEWTFILTER,
			Flags: netlink.Request | netlink.Acknowledge | flags,
		},
		Data: append(f.head(), attrs...),
	}, nil
}

// head is struct tcmsg.
func (f Filter) head() []byte {
	b := make([]byte, 0, 20)
	b = append(b, unix.AF_UNSPEC, 0, 0, 0)
	b = binary.NativeEndian.AppendUint32(b, uint32(f.Port))
	b = binary.NativeEndian.AppendUint32(b, f.Handle)
	b = binary.NativeEndian.AppendUint32(b, ingressParent)
	proto := binary.NativeEndian.Uint16(f.ethType())
	return binary.NativeEndian.AppendUint32(b, uint32(f.Priority)<<16|uint32(proto))
}

func (f Filter) ethType() []byte {
	if f.IPv4 {
		return []byte{0x08, 0x00}
	}
	return []byte{0x86, 0xdd}
}

func (f Filter) options() ([]byte, error) {
	ae := netlink.NewAttributeEncoder()
	f.Match.encode(ae)
	ae.Do(keyActions, func() ([]byte, error) { return encodeActions(f.Actions, f.IPv4, f.Cookie) })
	var flags uint32
	if f.SkipHW {
		flags |= skipHW
	}
	if f.SkipSW {
		flags |= skipSW
	}
	ae.Uint32(keyFlags, flags)
	ae.Bytes(keyEthType, f.ethType())
	return ae.Encode()
}

func (m Match) encode(ae *netlink.AttributeEncoder) {
	address(ae, m.Source, keyIPv4Src, keyIPv6Src)
	address(ae, m.Destination, keyIPv4Dst, keyIPv6Dst)
	if m.Protocol != 0 {
		ae.Uint8(keyProtocol, m.Protocol)
	}
	if m.FlagsMask != 0 {
		ae.Bytes(keyTCPFlags, binary.BigEndian.AppendUint16(nil, m.Flags))
		ae.Bytes(keyTCPMask, binary.BigEndian.AppendUint16(nil, m.FlagsMask))
	}
	if m.State != 0 {
		ae.Uint16(keyState, uint16(m.State))
		ae.Uint16(keyStateMask, uint16(m.State))
	}
	if m.Zone != 0 {
		ae.Uint16(keyZone, m.Zone)
		ae.Uint16(keyZoneMask, 0xffff)
	}
}

// address writes a key and, in the attribute after it, its full mask.
func address(ae *netlink.AttributeEncoder, a netip.Addr, v4, v6 uint16) {
	if !a.IsValid() {
		return
	}
	key := v6
	if a.Is4() {
		key = v4
	}
	mask := make([]byte, a.BitLen()/8)
	for i := range mask {
		mask[i] = 0xff
	}
	ae.Bytes(key, a.AsSlice())
	ae.Bytes(key+1, mask)
}
