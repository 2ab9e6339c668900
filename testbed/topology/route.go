package topology

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/testbed/netns"
)

var (
	any6 = netip.MustParsePrefix("::/0")
	any4 = netip.MustParsePrefix("0.0.0.0/0")
)

// Route is one route of a node. Exactly one of Via, Dev and Unreachable says
// where it leads; Via with Dev is an on-link gateway.
type Route struct {
	Dst         netip.Prefix
	Via         netip.Addr
	Dev         string
	Src         netip.Addr // preferred source; invalid = the kernel's choice
	Unreachable bool
}

// AddRoute puts a route into the node's main table, in place of one to the
// same destination.
func (n *Node) AddRoute(r Route) error {
	k, err := n.kernelRoute(r)
	if err == nil {
		err = n.NS.Netlink().RouteReplace(k)
	}
	if err != nil {
		return fmt.Errorf("topology: %s: route %s: %w", n.Name, r.Dst, err)
	}
	return nil
}

// DelRoute removes what AddRoute put there.
func (n *Node) DelRoute(r Route) error {
	k, err := n.kernelRoute(r)
	if err == nil {
		err = n.NS.Netlink().RouteDel(k)
	}
	if err != nil {
		return fmt.Errorf("topology: %s: delete route %s: %w", n.Name, r.Dst, err)
	}
	return nil
}

func (n *Node) kernelRoute(r Route) (*netlink.Route, error) {
	k := &netlink.Route{Dst: netns.IPNet(r.Dst), Protocol: unix.RTPROT_STATIC, Table: unix.RT_TABLE_MAIN}
	if r.Unreachable {
		k.Type = unix.RTN_UNREACHABLE
	}
	if r.Src.IsValid() {
		k.Src = r.Src.AsSlice()
	}
	if r.Via.IsValid() {
		k.Gw = r.Via.AsSlice()
	} else if r.Dst.Addr().Is4() {
		k.Scope = netlink.SCOPE_LINK
	}
	if r.Dev != "" {
		index, err := n.NS.Index(r.Dev)
		if err != nil {
			return nil, err
		}
		k.LinkIndex = index
		if r.Via.IsValid() {
			k.SetFlag(netlink.FLAG_ONLINK)
		}
	}
	if r.Unreachable {
		k.Scope = netlink.SCOPE_UNIVERSE
	}
	return k, nil
}

// host is the prefix of one address alone.
func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// staticRoutes lists every node's routes: aggregates downwards, defaults
// upwards.
func (p *Plan) staticRoutes() map[string][]Route {
	routes := map[string][]Route{}
	for _, l := range p.Links {
		up := Dual{l.A.Addr.V6.Addr(), l.A.Addr.V4.Addr()}
		routes[l.B.Node] = append(routes[l.B.Node], Route{Dst: any6, Via: up.V6}, Route{Dst: any4, Via: up.V4})
		down := Dual{l.B.Addr.V6.Addr(), l.B.Addr.V4.Addr()}
		for _, d := range p.below(l.B.Node) {
			via := down.V6
			if d.Addr().Is4() {
				via = down.V4
			}
			routes[l.A.Node] = append(routes[l.A.Node], Route{Dst: d, Via: via})
		}
	}
	return routes
}

// below lists the prefixes reached through a node from above.
func (p *Plan) below(node string) (found []netip.Prefix) {
	if h, ok := p.Hypervisor(node); ok {
		return h.Aggregate.Both()
	}
	for _, r := range p.Routers {
		if r.Name == node {
			found = append(found, host(r.Locator.V6), host(r.Locator.V4))
		}
	}
	for _, l := range p.Links {
		if l.A.Node == node && l.A.Node != Spine {
			found = append(found, p.below(l.B.Node)...)
		}
	}
	return found
}
