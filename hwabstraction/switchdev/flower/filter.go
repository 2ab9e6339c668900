package flower

import (
	"fmt"
	"net/netip"

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

// MAC is an Ethernet address.
type MAC [6]byte

// Match is what a packet must be. Zero fields match everything; bits outside
// of a mask or prefix are zero.
type Match struct {
	SourceMAC, DestinationMAC MAC
	Source, Destination       netip.Prefix // of the filter's family; Host for one address
	Protocol                  uint8        // IP protocol; 0 = any
	HopLimit, HopLimitMask    uint8        // hop limit or TTL; acts where the mask is not 0
	NoFragment                bool         // neither a first nor a later fragment
	Flags, FlagsMask          uint16       // TCP flags; acts where FlagsMask is not 0 and Protocol is 6
	State                     State        // all of these must be set
	Zone                      uint16       // conntrack zone; 0 = any
}

// Host is the prefix of one address; no prefix for no address.
func Host(a netip.Addr) netip.Prefix {
	if !a.IsValid() {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(a, a.BitLen())
}

// Filter is one flower filter on the ingress side of a port's clsact qdisc.
type Filter struct {
	Port     int32  // interface index
	Chain    uint32 // below 1 << 28
	Priority uint16 // at least 1; a lower one is asked first. In one chain it is of one protocol: the kernel refuses another (EINVAL)
	Handle   uint32 // 0 = the kernel chooses. Two handles with one match in one priority: EEXIST
	IPv4     bool   // else IPv6
	All      bool   // every protocol, ARP as well: neither IPv4 nor IPv6; only MACs can be matched and written
	SkipHW   bool   // in the kernel only
	SkipSW   bool   // in hardware only: refused where the port cannot
	Match    Match
	Actions  []Action // at least one, at most 32 (TCA_ACT_MAX_PRIO); the last one ends the packet's way
	Cookie   []byte   // whose it is: at most 16 bytes, kept by the last action and given back in dumps
}

const maxActions = 32

// Validate reports a filter that no kernel takes, or that no kernel gives back
// as it took it, naming the field.
func (f Filter) Validate() error {
	switch {
	case f.SkipHW && f.SkipSW:
		return fmt.Errorf("flower: skip_hw and skip_sw: the filter would be nowhere")
	case f.All && f.IPv4:
		return fmt.Errorf("flower: all protocols and IPv4: want one of them")
	case len(f.Cookie) > maxCookie:
		return fmt.Errorf("flower: cookie of %d bytes: at most %d", len(f.Cookie), maxCookie)
	}
	if err := f.validatePlace(); err != nil {
		return err
	}
	if err := f.validateMatch(); err != nil {
		return err
	}
	return f.validateActions()
}

// validatePlace checks what a deletion needs as well.
func (f Filter) validatePlace() error {
	switch {
	case f.Port <= 0:
		return fmt.Errorf("flower: port %d: not an interface index", f.Port)
	case f.Priority == 0:
		return fmt.Errorf("flower: priority 0: the kernel would choose one")
	case f.Chain > maxChain:
		return fmt.Errorf("flower: chain %d: at most %d", f.Chain, maxChain)
	}
	return nil
}

func (f Filter) validateMatch() error {
	m := f.Match
	mac := Match{SourceMAC: m.SourceMAC, DestinationMAC: m.DestinationMAC}
	switch {
	case f.All && m != mac:
		return fmt.Errorf("flower: all protocols: only MACs can be matched")
	case m.FlagsMask != 0 && m.Protocol != unix.IPPROTO_TCP:
		return fmt.Errorf("flower: TCP flags with protocol %d: want %d", m.Protocol, unix.IPPROTO_TCP)
	case m.Flags&^m.FlagsMask != 0:
		return fmt.Errorf("flower: TCP flags %#x: beyond the mask %#x", m.Flags, m.FlagsMask)
	case m.FlagsMask > maxTCPFlags:
		return fmt.Errorf("flower: TCP flags' mask %#x: at most %#x", m.FlagsMask, maxTCPFlags)
	case m.HopLimit&^m.HopLimitMask != 0:
		return fmt.Errorf("flower: hop limit %#x: beyond the mask %#x", m.HopLimit, m.HopLimitMask)
	}
	for _, p := range []struct {
		name   string
		prefix netip.Prefix
	}{{"source", m.Source}, {"destination", m.Destination}} {
		switch {
		case p.prefix == netip.Prefix{}:
		case !p.prefix.IsValid() || p.prefix.Bits() == 0 || p.prefix != p.prefix.Masked():
			return fmt.Errorf("flower: %s %s: want a prefix of at least one bit, and zeros behind it", p.name, p.prefix)
		case p.prefix.Addr().Is4() != f.IPv4:
			return fmt.Errorf("flower: %s %s: of the other family", p.name, p.prefix)
		}
	}
	return m.State.validate()
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
		if err := a.validate(f); err != nil {
			return fmt.Errorf("flower: action %d of %d (%s): %w", i+1, len(f.Actions), a.kind(), err)
		}
	}
	return nil
}
