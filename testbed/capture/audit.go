package capture

import (
	"net/netip"
	"slices"
	"time"
)

// Filter chooses frames.
type Filter func(Frame) bool

// All chooses what every filter chooses.
func All(filters ...Filter) Filter {
	return func(f Frame) bool {
		for _, ok := range filters {
			if !ok(f) {
				return false
			}
		}
		return true
	}
}

// Not chooses what the filter does not.
func Not(filter Filter) Filter { return func(f Frame) bool { return !filter(f) } }

// From chooses frames from one of the addresses.
func From(addrs ...netip.Addr) Filter {
	return func(f Frame) bool { return slices.Contains(addrs, f.Src) }
}

// To chooses frames to one of the addresses.
func To(addrs ...netip.Addr) Filter {
	return func(f Frame) bool { return slices.Contains(addrs, f.Dst) }
}

// Port chooses TCP and UDP frames from or to a port: the streams of a run,
// whatever their addresses have become.
func Port(n uint16) Filter {
	return func(f Frame) bool { return f.SrcPort == n || f.DstPort == n }
}

// DstPort chooses TCP and UDP frames to a port.
func DstPort(n uint16) Filter { return func(f Frame) bool { return f.DstPort == n } }

// Between chooses frames stamped from begin up to end, on the run's clock; a
// zero end means no end.
func Between(begin, end time.Duration) Filter {
	return func(f Frame) bool { return f.At >= begin && (end == 0 || f.At < end) }
}

// Signalling chooses Mobility Headers, raw or in UDP.
func Signalling(f Frame) bool {
	return f.Protocol == ProtocolMobility || f.Protocol == protoUDP && f.DstPort == portMobility
}

// portMobility carries Mobility Headers over IPv4 (RFC 5844).
const portMobility = 5436

// Destinations counts the chosen frames by destination address.
func (c *Capture) Destinations(choose Filter) (map[netip.Addr]int, error) {
	found := map[netip.Addr]int{}
	err := c.Each(func(f Frame) error {
		if f.Dst.IsValid() && choose(f) {
			found[f.Dst]++
		}
		return nil
	})
	return found, err
}

// Findings is how many frames broke a rule, and the first few of them.
type Findings struct {
	Checked int // frames that the rule was about
	Broken  int
	First   []string
}

func (n *Findings) add(f Frame) {
	n.Broken++
	if len(n.First) < 5 {
		n.First = append(n.First, f.String())
	}
}

// StrayDestinations finds chosen frames whose destination is none of the
// allowed. Checked == 0 means that the rule was never put to the test.
func (c *Capture) StrayDestinations(choose Filter, allowed ...netip.Addr) (Findings, error) {
	var n Findings
	err := c.Each(func(f Frame) error {
		if f.Dst.IsValid() && choose(f) {
			n.Checked++
			if !slices.Contains(allowed, f.Dst) {
				n.add(f)
			}
		}
		return nil
	})
	return n, err
}

// AddedHeaders finds frames with anything between Ethernet, one IP header and
// what the endpoints themselves send: IP in IP, GRE, ESP, AH, routing headers,
// destination options, VXLAN, Geneve, MPLS, VLAN and whatever else has a number.
func (c *Capture) AddedHeaders() (Findings, error) {
	var n Findings
	err := c.Each(func(f Frame) error {
		n.Checked++
		if f.Extra != "" {
			n.add(f)
		}
		return nil
	})
	return n, err
}
