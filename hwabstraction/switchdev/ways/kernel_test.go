package ways

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/haltest"
	"github.com/dpmip/dpmip/internal/guard"
)

func TestMain(m *testing.M) { guard.Main(m) }

// host is a hypervisor's namespace and a Kernel of it.
type host struct {
	*testing.T
	*Kernel
	env    haltest.Env
	fabric haltest.Port
	vm     haltest.Port
}

func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{T: t}
	rig := haltest.NewNamespaceRig(t, func(e haltest.Env) (hwabstraction.Device, error) {
		h.env = e
		return haltest.NewChaos(haltest.Plan{}), nil
	})
	h.fabric, h.vm = rig.World.Fabric(), rig.World.VMs()[0]
	k, err := Open(h.env.NetNS, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	h.Kernel = k
	return h
}

// in changes something in the namespace.
func (h *host) in(what string, f func() error) {
	h.Helper()
	if err := h.env.Do(f); err != nil {
		h.Fatalf("%s: %v", what, err)
	}
}

func (h *host) index(name string) int {
	h.Helper()
	p, err := h.Port(name)
	if err != nil {
		h.Fatal(err)
	}
	return int(p.Index)
}

func network(s string) *net.IPNet {
	p := netip.MustParsePrefix(s)
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

var peers = map[bool]netip.Addr{true: netip.MustParseAddr("198.51.100.9"), false: netip.MustParseAddr("2001:db8:c::9")}

func TestPort(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	p, err := h.Port(h.fabric.Name)
	if err != nil || p.MAC != h.fabric.MAC || p.MTU != 1500 || p.Index <= 0 {
		t.Errorf("%+v, %v; want the MAC %x", p, err, h.fabric.MAC)
	}
	if _, err := h.Port("nosuch0"); !errors.Is(err, hwabstraction.ErrPortGone) {
		t.Errorf("a port that is not there: %v", err)
	}
	byFunction, err := Open(h.env.NetNS, func(name string) (int32, error) {
		if name != "pf0vf3" {
			return 0, errors.New("no such function")
		}
		return p.Index, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer byFunction.Close()
	if got, err := byFunction.Port("pf0vf3"); err != nil || got != p {
		t.Errorf("by its function: %+v, %v", got, err)
	}
	if _, err := byFunction.Port(h.fabric.Name); !errors.Is(err, hwabstraction.ErrPortGone) {
		t.Errorf("by a name that resolves to nothing: %v", err)
	}
}

func TestHopAndExit(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	for ipv4, peer := range peers {
		want := Hop{Port: int32(h.index(h.fabric.Name)), Source: h.fabric.MAC, Destination: h.fabric.Far, MTU: 1500}
		if got, err := h.Hop(peer); err != nil || got != want {
			t.Errorf("to %s: %+v, %v; want %+v", peer, got, err, want)
		}
		own := haltest.HypervisorAddr6
		if ipv4 {
			own = haltest.HypervisorAddr4
		}
		if exit := h.exitWithout(ipv4, netip.PrefixFrom(own.Addr(), own.Addr().BitLen())); exit.Hop != want || !slices.Contains(exit.Except, own.Masked()) {
			t.Errorf("exit: %+v; want %+v, without the host's own %s", exit, want, own)
		}
		if _, err := h.Hop(own.Addr()); !errors.Is(err, ErrUnclear) {
			t.Errorf("to the host itself: %v", err)
		}
	}
}

// exitWithout waits until the exit leaves a prefix out: the kernel has an IPv6
// address of its own some time before the route for it.
func (h *host) exitWithout(ipv4 bool, p netip.Prefix) Exit {
	h.Helper()
	patience := time.After(10 * time.Second)
	for {
		exit, err := h.Exit(ipv4)
		if err != nil {
			h.Fatal(err)
		}
		if slices.Contains(exit.Except, p) {
			return exit
		}
		select {
		case <-h.Changed():
		case <-patience:
			h.Fatalf("%s is the host's own, the exit leaves out only %v", p, exit.Except)
		}
	}
}

// TestOtherWays: routes that lead elsewhere are left out of the exit, and those
// that lead the same way are not.
func TestOtherWays(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	link, vm := h.index(h.fabric.Name), h.index(h.vm.Name)
	h.in("routes", func() error {
		return errors.Join(
			netlink.RouteAdd(&netlink.Route{Dst: network("10.5.0.0/16"), LinkIndex: link, Gw: haltest.FabricGateway4.AsSlice()}),
			netlink.RouteAdd(&netlink.Route{Dst: network("10.6.0.0/16"), LinkIndex: vm, Scope: unix.RT_SCOPE_LINK}),
			netlink.RouteAdd(&netlink.Route{Dst: network("10.7.0.0/16"), Type: unix.RTN_UNREACHABLE}),
			netlink.RouteAdd(&netlink.Route{Dst: network("10.8.0.0/16"), LinkIndex: link, Gw: haltest.FabricGateway4.AsSlice(), MTU: 1300}),
			netlink.RouteAdd(&netlink.Route{Dst: network("10.9.0.0/16"), MultiPath: []*netlink.NexthopInfo{
				{LinkIndex: link, Gw: net.IP{192, 0, 2, 7}}, {LinkIndex: link, Gw: haltest.FabricGateway4.AsSlice()},
			}}))
	})
	exit, err := h.Exit(true)
	if err != nil {
		t.Fatal(err)
	}
	for p, left := range map[string]bool{"10.5.0.0/16": false, "10.6.0.0/16": true, "10.7.0.0/16": true, "10.8.0.0/16": true, "10.9.0.0/16": true} {
		if got := slices.Contains(exit.Except, netip.MustParsePrefix(p)); got != left {
			t.Errorf("%s is left out: %v, want %v", p, got, left)
		}
	}
	if hop, err := h.Hop(netip.MustParseAddr("10.8.0.1")); err != nil || hop.MTU != 1300 {
		t.Errorf("over the route of 1300 bytes: %+v, %v", hop, err)
	}
	for _, a := range []string{"10.7.0.1", "10.9.0.1", "10.6.0.1"} {
		if hop, err := h.Hop(netip.MustParseAddr(a)); !errors.Is(err, ErrUnclear) {
			t.Errorf("to %s: %+v, %v; want ErrUnclear", a, hop, err)
		}
	}
}

// TestChanges: what changes is told, and then asked for anew.
func TestChanges(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	link := h.index(h.fabric.Name)
	router := &netlink.Neigh{LinkIndex: link, IP: haltest.FabricGateway4.AsSlice(), State: netlink.NUD_PERMANENT, HardwareAddr: net.HardwareAddr{2, 9, 9, 9, 9, 9}}
	told := func() {
		t.Helper()
		select {
		case <-h.Changed():
		case <-time.After(10 * time.Second):
			t.Fatal("a change was not told")
		}
	}
	h.in("neighbour", func() error { return netlink.NeighSet(router) })
	told()
	if hop, err := h.Hop(peers[true]); err != nil || hop.Destination != [6]byte(router.HardwareAddr) {
		t.Errorf("after the router's MAC changed: %+v, %v", hop, err)
	}
	h.in("no neighbour", func() error { return netlink.NeighDel(router) })
	told()
	if hop, err := h.Hop(peers[true]); !errors.Is(err, ErrUnclear) {
		t.Errorf("to a router whose MAC is not known: %+v, %v", hop, err)
	}
	h.in("rule", func() error {
		r := netlink.NewRule()
		r.Family, r.Table, r.Priority = netlink.FAMILY_V6, 77, 77
		return netlink.RuleAdd(r)
	})
	told()
	if _, err := h.Exit(false); !errors.Is(err, ErrUnclear) {
		t.Errorf("with a rule for everything: %v", err)
	}
	h.in("no route", func() error {
		return netlink.RouteDel(&netlink.Route{LinkIndex: link, Dst: network("0.0.0.0/0")})
	})
	if _, err := h.Exit(true); !errors.Is(err, ErrUnclear) {
		t.Errorf("without a default route: %v", err)
	}
}
