package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/detect"
	"github.com/dpmip/dpmip/hwabstraction/software"
	"github.com/dpmip/dpmip/testbed/netns"
)

// family is one family's addresses of the forwarding benchmark.
type family struct {
	name            string
	peer            netip.AddrPort
	old             netip.AddrPort
	delivery        netip.Addr
	self, next, far string // own address with its prefix, next hop, default
}

var families = []family{
	{"IPv6", netip.MustParseAddrPort("[fd09::9]:4000"), netip.MustParseAddrPort("[fd77:1::5]:4001"), netip.MustParseAddr("fd88:1::fff3"), "fd02::2/64", "fd02::1", "::/0"},
	{"IPv4", netip.MustParseAddrPort("10.9.9.9:4000"), netip.MustParseAddrPort("10.77.1.5:4001"), netip.MustParseAddr("10.88.2.7"), "10.0.2.2/24", "10.0.2.1", "0.0.0.0/0"},
}

// hop is a hypervisor between two wires that forwards packets for a family's
// old address out of its second port.
type hop struct {
	hv       *netns.NS
	fd       *os.File
	from     *blaster
	dev      hwabstraction.Device
	hardware *detect.Hardware // what dev is of; nil = dev stands alone
}

// setups are the ways to forward that are compared.
var setups = []struct {
	name string
	run  func(*hop, family, string) error
}{
	{"route", func(*hop, family, string) error { return nil }},
	{"redirect", func(h *hop, f family, dir string) error { return h.redirect(f, dir, hwabstraction.NewRedirect) }},
	{"redirect-drop", func(h *hop, f family, dir string) error { return h.redirect(f, dir, hwabstraction.NewDrop) }},
	{"route-conntrack", func(h *hop, _ family, _ string) error { return h.conntrack() }},
}

// forwarding compares a translated redirect with the kernel's plain route, and
// with its route and connection tracking: packets per second of one core.
func forwarding(ctx context.Context, o *Options) ([]Figure, error) {
	var out []Figure
	for _, f := range families {
		figures, err := forwardFamily(ctx, o, f)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		out = append(out, figures...)
	}
	return out, nil
}

func forwardFamily(ctx context.Context, o *Options, f family) (out []Figure, err error) {
	set, err := netns.Open("", "bench")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, set.Close()) }()
	ways := make([]way, len(setups))
	for i, s := range setups {
		h, err := newHop(set, s.name, f)
		if err != nil {
			return nil, err
		}
		defer h.close()
		dir, err := set.MountBPF(s.name + "-bpf")
		if err != nil {
			return nil, err
		}
		if err := s.run(h, f, dir); err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		ways[i] = h.blast
	}
	const rounds = 300
	s, err := turns(ctx, o.rounds(rounds), ways...)
	if err != nil {
		return nil, err
	}
	route, redirect, drop, ct := s[0], s[1], s[2], s[3]
	how := fmt.Sprintf("veth pairs, one core, %d frames a round, in turns", blastFrames)
	return []Figure{
		redirect.over(route).median("translated redirect / plain route, "+f.name, "x").atLeast(1).note("%s", how),
		redirect.over(ct).median("translated redirect / route with nft conntrack, "+f.name, "x").atLeast(1.15).note("%s", how),
		drop.over(ct).median("redirect that drops new flows / route with nft conntrack, "+f.name, "x").atLeast(1.15).note("an established flow, found in the map"),
		route.median("plain route, "+f.name, "packets/s"),
		redirect.median("translated redirect, "+f.name, "packets/s"),
		drop.median("redirect that drops new flows, "+f.name, "packets/s"),
		ct.median("route with nft conntrack, "+f.name, "packets/s"),
	}, nil
}

func newHop(set *netns.Set, name string, f family) (*hop, error) {
	in, err := space(set, name+"-in", false)
	if err != nil {
		return nil, err
	}
	outside, err := space(set, name+"-out", false)
	if err != nil {
		return nil, err
	}
	hv, err := space(set, name, true)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(join(hv, "fab0", in, "far0"), join(hv, "fab1", outside, "far1")); err != nil {
		return nil, err
	}
	if err := onward(hv, outside, f); err != nil {
		return nil, err
	}
	here, err := hv.Link("fab0")
	if err != nil {
		return nil, err
	}
	there, err := in.Link("far0")
	if err != nil {
		return nil, err
	}
	h := &hop{hv: hv}
	if h.fd, err = os.Open(hv.Path()); err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	h.from, err = newBlaster(in, "far0", datagram(here.Attrs().HardwareAddr, there.Attrs().HardwareAddr, f.peer, f.old))
	return h, err
}

// onward gives the hypervisor its address, a neighbour and the default route.
func onward(hv, outside *netns.NS, f family) error {
	far, err := outside.Link("far1")
	if err != nil {
		return err
	}
	if err := hv.AddAddr("fab1", netip.MustParsePrefix(f.self)); err != nil {
		return err
	}
	next := netip.MustParseAddr(f.next)
	if err := hv.SetNeighbour("fab1", next, far.Attrs().HardwareAddr); err != nil {
		return err
	}
	index, err := hv.Index("fab1")
	if err != nil {
		return err
	}
	r := &netlink.Route{Dst: netns.IPNet(netip.MustParsePrefix(f.far)), Gw: next.AsSlice(), LinkIndex: index}
	if err := hv.Netlink().RouteReplace(r); err != nil {
		return fmt.Errorf("bench: default route: %w", err)
	}
	return nil
}

func (h *hop) close() {
	h.from.close()
	switch {
	case h.hardware != nil:
		_ = h.hardware.Close()
	case h.dev != nil:
		_ = h.dev.Close()
	}
	h.fd.Close()
}

// blastFrames is how many frames one round sends.
const blastFrames = 2000

// blast forwards frames and gives their rate; all must have come out.
func (h *hop) blast() (float64, error) {
	before, err := h.sent()
	if err != nil {
		return 0, err
	}
	took, err := h.from.send(blastFrames)
	if err != nil {
		return 0, err
	}
	after, err := h.sent()
	if err != nil {
		return 0, err
	}
	if n := after - before; n < blastFrames {
		return 0, fmt.Errorf("%s forwarded %d of %d frames", h.hv.Name(), n, blastFrames)
	}
	return perSecond(blastFrames, took), nil
}

func (h *hop) sent() (uint64, error) {
	l, err := h.hv.Link("fab1")
	if err != nil {
		return 0, err
	}
	return l.Attrs().Statistics.TxPackets, nil
}

// redirect opens the software backend and arms a redirect for the old address.
func (h *hop) redirect(f family, dir string, policy hwabstraction.NewFlows) (err error) {
	if h.dev, err = openDevice(h.fd, dir, 0); err != nil {
		return err
	}
	return h.arm(f, policy)
}

// arm puts a redirect for the old address into the device, and arms it.
func (h *hop) arm(f family, policy hwabstraction.NewFlows) error {
	s := hwabstraction.Stamp{Owner: [16]byte{1}, Epoch: 1}
	r := hwabstraction.Redirect{Stamp: s, Address: f.old.Addr(), To: f.delivery, Locator: netip.MustParseAddr(f.next), New: policy}
	if err := applyAll(context.Background(), h.dev, []hwabstraction.Change{hwabstraction.Put(r)}); err != nil {
		return err
	}
	flow := hwabstraction.Flow{
		Protocol: unix.IPPROTO_UDP, SeenReply: true,
		VM:   hwabstraction.Endpoint{Addr: f.old.Addr(), Port: f.old.Port()},
		Peer: hwabstraction.Endpoint{Addr: f.peer.Addr(), Port: f.peer.Port()},
	}
	if _, err := h.dev.LoadFlows(context.Background(), s, []hwabstraction.Flow{flow}); err != nil {
		return err
	}
	return h.dev.Arm(s)
}

// conntrack wakes the kernel's connection tracking by a rule that asks for it.
func (h *hop) conntrack() error {
	c, err := nftables.New(nftables.WithNetNSFd(int(h.fd.Fd())))
	if err != nil {
		return fmt.Errorf("bench: nftables: %w", err)
	}
	t := c.AddTable(&nftables.Table{Name: "bench", Family: nftables.TableFamilyINet})
	chain := c.AddChain(&nftables.Chain{
		Table: t, Name: "forward", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
	})
	c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: []expr.Any{&expr.Ct{Key: expr.CtKeySTATE, Register: 1}, &expr.Counter{}}})
	if err := c.Flush(); err != nil {
		return fmt.Errorf("bench: nftables: %w", err)
	}
	return nil
}

// openDevice opens the software backend in a namespace; rules 0 = its default.
func openDevice(ns *os.File, dir string, rules int) (*software.Device, error) {
	return software.Open(software.Config{NetNS: int(ns.Fd()), BPFDir: dir, Fabric: []string{"fab0"}, MaxRules: rules})
}

// applyAll applies a batch and gives its first error.
func applyAll(ctx context.Context, d hwabstraction.Device, changes []hwabstraction.Change) error {
	for _, r := range d.Apply(ctx, changes) {
		if r.Err != nil {
			return fmt.Errorf("bench: %s: %w", r.ID, r.Err)
		}
	}
	return nil
}
