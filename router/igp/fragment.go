package igp

import (
	"fmt"
	"net/netip"
	"strings"
)

// Protocol is a routing protocol that carries the host routes on.
type Protocol uint8

// The protocols.
const (
	ProtocolInvalid Protocol = iota
	OSPF3                    // OSPFv3, IPv6 (RFC 5340)
	OSPF2                    // OSPFv2, IPv4 (RFC 2328)
	ISIS                     // IS-IS, both families (RFC 1195, 5308)
	BGP                      // FRR's own BGP, both families
)

var protocolNames = map[Protocol]string{OSPF3: "ospf6", OSPF2: "ospf", ISIS: "isis", BGP: "bgp"}

// Protocols lists all of them.
var Protocols = []Protocol{OSPF3, OSPF2, ISIS, BGP}

func (p Protocol) String() string {
	if name := protocolNames[p]; name != "" {
		return name
	}
	return fmt.Sprintf("protocol(%d)", uint8(p))
}

// ParseProtocol reads "ospf6", "ospf", "isis" or "bgp", FRR's own words.
func ParseProtocol(s string) (Protocol, error) {
	for p, name := range protocolNames {
		if name == s {
			return p, nil
		}
	}
	return ProtocolInvalid, fmt.Errorf("%q: want ospf6, ospf, isis or bgp", s)
}

// Families tells which address families it carries.
func (p Protocol) Families() (v6, v4 bool) { return p != OSPF2, p != OSPF3 }

// Options describe the fragment.
type Options struct {
	Protocols []Protocol
	// Ranges hold the VMs' addresses; only host routes inside go on. A family
	// without one: all of its host routes.
	Ranges []netip.Prefix
	// Interfaces are those whose host routes go on; empty: all. Where the
	// management node tells more than one router of a fabric, only routes towards
	// the own hypervisors may: a route that leads back into the fabric, announced
	// from here, would draw traffic in a circle.
	Interfaces []string
	ISISTag    string // the name of "router isis"; empty: "DC"
	ASN        uint32 // of "router bgp"
	// Metric is set on the routes where it is not 0.
	Metric uint32
}

// Names of what the fragment defines.
const (
	listV6 = "DPMIP-HOSTS6"
	listV4 = "DPMIP-HOSTS4"
	mapV6  = "DPMIP6"
	mapV4  = "DPMIP4"
)

func (o *Options) tag() string {
	if o.ISISTag == "" {
		return "DC"
	}
	return o.ISISTag
}

// Check tells what is missing for a fragment.
func (o *Options) Check() error {
	if len(o.Protocols) == 0 {
		return fmt.Errorf("protocols: is empty, want some of ospf6, ospf, isis, bgp")
	}
	for _, p := range o.Protocols {
		if p == BGP && o.ASN == 0 {
			return fmt.Errorf("asn: is missing for bgp")
		}
	}
	return nil
}

// OwnNextHops gives each route of zebra's its own next hops, on every router of
// the fabric. FRR 8.4 otherwise deletes a nexthop object of the kernel that
// routes still use, when SPF runs follow each other (a link that comes back): the
// kernel then drops all of them without a word, and zebra believes them to be
// there.
const OwnNextHops = "no zebra nexthop kernel enable\n"

// Fragment is what FRR's integrated configuration (frr.conf, or vtysh -f) needs
// besides the operator's own lines: filters for host routes, redistribution from
// the kernel, and timers that do not hold a move up.
func (o *Options) Fragment() string {
	var b strings.Builder
	b.WriteString(OwnNextHops)
	v6, v4 := o.families()
	if v6 {
		o.filter(&b, "ipv6", listV6, mapV6)
	}
	if v4 {
		o.filter(&b, "ip", listV4, mapV4)
	}
	for _, p := range o.Protocols {
		o.router(&b, p)
	}
	return b.String()
}

func (o *Options) families() (v6, v4 bool) {
	for _, p := range o.Protocols {
		six, four := p.Families()
		v6, v4 = v6 || six, v4 || four
	}
	return v6, v4
}

func (o *Options) filter(b *strings.Builder, word, list, name string) {
	for i, p := range o.ranges(word == "ip") {
		if p.IsSingleIP() {
			fmt.Fprintf(b, "%s prefix-list %s seq %d permit %s\n", word, list, 5*(i+1), p)
			continue
		}
		fmt.Fprintf(b, "%s prefix-list %s seq %d permit %s ge %d\n", word, list, 5*(i+1), p, p.Addr().BitLen())
	}
	interfaces := o.Interfaces
	if len(interfaces) == 0 {
		interfaces = []string{""}
	}
	for i, dev := range interfaces {
		fmt.Fprintf(b, "route-map %s permit %d\n match %s address prefix-list %s\n", name, 10+i, word, list)
		if dev != "" {
			fmt.Fprintf(b, " match interface %s\n", dev)
		}
		if o.Metric != 0 {
			fmt.Fprintf(b, " set metric %d\n", o.Metric)
		}
		b.WriteString("exit\n")
	}
}

func (o *Options) ranges(v4 bool) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range o.Ranges {
		if p.Addr().Is4() == v4 {
			out = append(out, p)
		}
	}
	if len(out) > 0 {
		return out
	}
	if v4 {
		return []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0)}
	}
	return []netip.Prefix{netip.PrefixFrom(netip.IPv6Unspecified(), 0)}
}

func (o *Options) router(b *strings.Builder, p Protocol) {
	switch p {
	case OSPF3:
		fmt.Fprintf(b, "router ospf6\n redistribute kernel route-map %s\n timers throttle spf 0 50 500\n timers lsa min-arrival 0\nexit\n", mapV6)
	case OSPF2:
		fmt.Fprintf(b, "router ospf\n redistribute kernel route-map %s\n timers throttle spf 0 50 500\n timers throttle lsa all 0\n timers lsa min-arrival 0\nexit\n", mapV4)
	case ISIS:
		fmt.Fprintf(b, "router isis %s\n redistribute ipv6 kernel level-2 route-map %s\n redistribute ipv4 kernel level-2 route-map %s\n", o.tag(), mapV6, mapV4)
		b.WriteString(" lsp-gen-interval 1\n spf-delay-ietf init-delay 0 short-delay 50 long-delay 500 holddown 1000 time-to-learn 500\nexit\n")
	case BGP:
		fmt.Fprintf(b, "router bgp %d\n", o.ASN)
		fmt.Fprintf(b, " address-family ipv6 unicast\n  redistribute kernel route-map %s\n exit-address-family\n", mapV6)
		fmt.Fprintf(b, " address-family ipv4 unicast\n  redistribute kernel route-map %s\n exit-address-family\nexit\n", mapV4)
	}
}
