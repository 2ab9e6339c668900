package fib

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Found is one route of the kernel, whoever made it.
type Found struct {
	Prefix   netip.Prefix
	Protocol int // rtm_protocol; see Owner
	Metric   int
	Type     string // "unicast", "unreachable", "blackhole", "prohibit", "local"
	NextHops []Hop
	Since    time.Time // filled from a Journal; zero: unknown
}

// Hop is one way of a route.
type Hop struct {
	Gateway netip.Addr // invalid: on-link
	Device  int        // interface index
	Weight  int        // of an equal-cost route, from 1
}

// Usable tells whether packets are forwarded by it.
func (f *Found) Usable() bool { return f.Type == "unicast" && len(f.NextHops) > 0 }

// By tells whether one of its next hops is among those.
func (f *Found) By(gateways []netip.Addr) bool {
	for _, h := range f.NextHops {
		for _, g := range gateways {
			if h.Gateway == g {
				return true
			}
		}
	}
	return false
}

// owners are the names of the rtm_protocols of /etc/iproute2/rt_protos, ours,
// and those of FRR's zebra.
var owners = map[int]string{
	0: "unspecified", 1: "redirect", 2: "kernel", 3: "boot", 4: "static", 8: "gated", 9: "ra", 11: "zebra", 12: "bird", 16: "dhcp", 42: "babel",
	186: "bgp", 187: "isis", 188: "ospf", 189: "rip", 190: "ripng", 191: "nhrp", 192: "eigrp", 193: "ldp", 194: "sharp", 195: "pbr", 196: "zstatic",
	197: "openfabric", 198: "srte", 201: "dpmip",
}

// Owner names who made the route, by its rtm_protocol.
func (f *Found) Owner() string {
	if name := owners[f.Protocol]; name != "" {
		return name
	}
	return fmt.Sprintf("protocol %d", f.Protocol)
}

// Lookup asks the kernel of the calling thread's namespace which entry of its
// table a packet to the address takes. The error is ErrNoNextHop where there is
// none.
func Lookup(h *netlink.Handle, a netip.Addr) (*Found, error) {
	rs, err := h.RouteGetWithOptions(net.IP(a.AsSlice()), &netlink.RouteGetOptions{FIBMatch: true})
	switch {
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.EACCES), errors.Is(err, unix.EINVAL):
		return nil, fmt.Errorf("%w for %s: %v", ErrNoNextHop, a, err)
	case err != nil:
		return nil, fmt.Errorf("fib: asking the kernel for %s: %w", a, err)
	case len(rs) == 0:
		return nil, fmt.Errorf("%w for %s", ErrNoNextHop, a)
	}
	f := found(&rs[0], a)
	for _, r := range rs[1:] { // an IPv6 route may come as several
		if r.Priority == f.Metric {
			f.NextHops = append(f.NextHops, hops(&r)...)
		}
	}
	return f, nil
}

func found(r *netlink.Route, a netip.Addr) *Found {
	f := &Found{Protocol: int(r.Protocol), Metric: r.Priority, Type: typeName(r.Type), NextHops: hops(r)}
	p, ok := prefixOf(r)
	if !ok { // the default route
		p = netip.PrefixFrom(a, 0).Masked()
	}
	f.Prefix = p
	return f
}

func hops(r *netlink.Route) []Hop {
	if len(r.MultiPath) == 0 {
		if r.LinkIndex == 0 {
			return nil
		}
		return []Hop{{Gateway: gateway(r.Gw, r.Via), Device: r.LinkIndex, Weight: 1}}
	}
	var out []Hop
	for _, m := range r.MultiPath {
		out = append(out, Hop{Gateway: gateway(m.Gw, m.Via), Device: m.LinkIndex, Weight: m.Hops + 1})
	}
	return out
}

func gateway(gw net.IP, via netlink.Destination) netip.Addr {
	if v, ok := via.(*netlink.Via); ok && v != nil {
		gw = v.Addr
	}
	a, _ := netip.AddrFromSlice(gw)
	return a.Unmap()
}

func typeName(t int) string {
	switch t {
	case unix.RTN_UNICAST:
		return "unicast"
	case unix.RTN_LOCAL:
		return "local"
	case unix.RTN_BLACKHOLE:
		return "blackhole"
	case unix.RTN_UNREACHABLE:
		return "unreachable"
	case unix.RTN_PROHIBIT:
		return "prohibit"
	}
	return fmt.Sprintf("type %d", t)
}
