package scenario

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"connectrpc.com/connect"
	"github.com/vishvananda/netlink"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/api/dpmip/v1/dpmipv1connect"
	"github.com/dpmip/dpmip/mgmtclient"
	"github.com/dpmip/dpmip/router/fib"
	"github.com/dpmip/dpmip/testbed/topology"
)

// lookup asks the kernel of a node which way a packet to the address takes.
func (f *fabric) lookup(node string, a netip.Addr) (*fib.Found, error) {
	return fib.Lookup(f.dc.Lab.Node(node).NS.Netlink(), a)
}

// entry is the node to which the provider sends packets for the address, by its
// kernel's table.
func (f *fabric) entry(a netip.Addr) (string, error) {
	r, err := f.lookup(topology.Provider, a)
	if err != nil {
		return "", err
	}
	if len(r.NextHops) != 1 {
		return "", fmt.Errorf("scenario: %s has %d next hops for %s, want 1", topology.Provider, len(r.NextHops), a)
	}
	link, err := f.dc.Lab.Node(topology.Provider).NS.Netlink().LinkByIndex(r.NextHops[0].Device)
	if err != nil {
		return "", fmt.Errorf("scenario: %s: %w", topology.Provider, err)
	}
	return link.Attrs().Name, nil // named after the node at its other end
}

// learnt lists the host routes of VMs' addresses, and whatever leads to
// locators or delivery addresses, in a kernel's table: what nobody outside may
// have been given.
func (f *fabric) learnt(node string) (out []netip.Prefix, err error) {
	p := &f.dc.Lab.Plan
	for _, family := range []int{netlink.FAMILY_V6, netlink.FAMILY_V4} {
		rs, err := f.dc.Lab.Node(node).NS.Netlink().RouteList(nil, family)
		if err != nil {
			return nil, fmt.Errorf("scenario: routes of %s: %w", node, err)
		}
		for _, r := range rs {
			if r.Dst == nil {
				continue
			}
			a, ok := netip.AddrFromSlice(r.Dst.IP)
			bits, _ := r.Dst.Mask.Size()
			x := netip.PrefixFrom(a.Unmap(), bits)
			if ok && bits > 0 && secret(p, x) {
				out = append(out, x)
			}
		}
	}
	return out, nil
}

// secret reports whether a prefix says more of a site than where its VMs are at
// home.
func secret(p *topology.Plan, x netip.Prefix) bool {
	for i := range p.Hypervisors {
		h := &p.Hypervisors[i]
		for _, r := range h.Range.Both() {
			if r.Contains(x.Addr()) && x.Bits() > r.Bits() {
				return true
			}
		}
		for _, inside := range append(h.Pool.Both(), h.Aggregates()...) {
			if inside.Overlaps(x) && x != h.Range.V6 && x != h.Range.V4 {
				return true
			}
		}
	}
	return topology.NAT.Overlaps(x)
}

// sessionsDown names a BGP session that is not up; "" = all are.
func (f *fabric) sessionsDown(ctx context.Context) (string, error) {
	for _, name := range []string{topology.Border1, topology.Border2} {
		c, err := f.router(name)
		if err != nil {
			return "", err
		}
		r, err := c.ListSessions(ctx, connect.NewRequest(&v1.ListSessionsRequest{}))
		if err != nil {
			return fmt.Sprintf("%s: %v", name, err), nil
		}
		var down []string
		for _, s := range r.Msg.Sessions {
			if s.State != "established" {
				down = append(down, s.Peer+" is "+s.State)
			}
		}
		if len(down) > 0 || len(r.Msg.Sessions) == 0 {
			return name + ": BGP: " + strings.Join(down, ", "), nil
		}
	}
	return "", nil
}

// router is the control of a router's dpmip-router.
func (f *fabric) router(name string) (dpmipv1connect.RouterServiceClient, error) {
	if c := f.clients[name]; c != nil {
		return c, nil
	}
	c, err := mgmtclient.OpenRouter(mgmtclient.Target{Address: f.dc.daemons[name].socket})
	if err != nil {
		return nil, fmt.Errorf("scenario: %s: %w", name, err)
	}
	f.clients[name] = c
	return c, nil
}
