package flows

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"testing"

	"github.com/mdlayher/netlink"
	"github.com/ti-mo/conntrack"
	"github.com/vishvananda/netns"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/dpmip/dpmip/hwabstraction"
)

// newNamespace makes an anonymous network namespace that ends with the test.
func newNamespace(t *testing.T) netns.NsHandle {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	var ns netns.NsHandle
	done := make(chan error)
	go func() { // its thread dies with it, and with it the namespace's only task
		runtime.LockOSThread()
		var err error
		ns, err = netns.New()
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return ns
}

var (
	vm4, vm6     = netip.MustParseAddr("10.77.1.5"), netip.MustParseAddr("fd77:1::5")
	peer4, peer6 = netip.MustParseAddr("10.9.9.9"), netip.MustParseAddr("fd09::9")
	other        = netip.MustParseAddr("10.77.1.6")
)

// fillTable puts flows into the namespace's conntrack: the VM's in zone 7, and
// some that are not its.
func fillTable(t *testing.T, ns netns.NsHandle) {
	t.Helper()
	c, err := conntrack.Dial(&netlink.Config{NetNS: int(ns)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	seen := conntrack.StatusConfirmed | conntrack.StatusSeenReply | conntrack.StatusAssured
	young := conntrack.StatusConfirmed
	for _, e := range []struct {
		proto        uint8
		status       conntrack.Status
		src, dst     netip.Addr
		sport, dst16 uint16
		zone         uint16
	}{
		{6, seen, peer4, vm4, 40000, 22, 7},
		{17, young, vm4, peer4, 53000, 53, 7},
		{6, seen, vm6, peer6, 40001, 443, 7},
		{17, seen, other, vm4, 1000, 2000, 0},
		{6, seen, peer4, other, 40002, 22, 8},
		{6, seen, peer4, vm4, 40003, 22, 9}, // of another VM's zone: an address in use twice
	} {
		f := conntrack.NewFlow(e.proto, e.status, e.src, e.dst, e.sport, e.dst16, 120, 0)
		f.Zone = e.zone
		if e.proto == 6 {
			f.ProtoInfo.TCP = &conntrack.ProtoInfoTCP{State: 3}
		}
		if err := c.Create(f); err != nil {
			t.Fatalf("create %v -> %v: %v", e.src, e.dst, err)
		}
	}
}

func at(a netip.Addr, port uint16) hwabstraction.Endpoint {
	return hwabstraction.Endpoint{Addr: a, Port: port}
}

func TestFlows(t *testing.T) {
	ns := newNamespace(t)
	fillTable(t, ns)
	tcp4 := hwabstraction.Flow{Protocol: 6, VM: at(vm4, 22), Peer: at(peer4, 40000), SeenReply: true}
	udp4 := hwabstraction.Flow{Protocol: 17, VM: at(vm4, 53000), Peer: at(peer4, 53)}
	local := hwabstraction.Flow{Protocol: 17, VM: at(vm4, 2000), Peer: at(other, 1000), SeenReply: true}
	tcp6 := hwabstraction.Flow{Protocol: 6, VM: at(vm6, 40001), Peer: at(peer6, 443), SeenReply: true}
	stray := hwabstraction.Flow{Protocol: 6, VM: at(vm4, 22), Peer: at(peer4, 40003), SeenReply: true}
	zone := func(netip.Addr) (uint16, bool) { return 7, true }
	unknown := func(netip.Addr) (uint16, bool) { return 0, false }
	for _, c := range []struct {
		name  string
		zone  func(netip.Addr) (uint16, bool)
		addrs []netip.Addr
		want  []hwabstraction.Flow
	}{
		{"every zone", nil, []netip.Addr{vm4, vm6}, []hwabstraction.Flow{tcp4, udp4, local, tcp6, stray}},
		{"its zone and that of neighbours", zone, []netip.Addr{vm4, vm6}, []hwabstraction.Flow{tcp4, udp4, local, tcp6}},
		{"zone not known", unknown, []netip.Addr{vm4}, []hwabstraction.Flow{tcp4, udp4, local, stray}},
		{"one family", zone, []netip.Addr{vm6}, []hwabstraction.Flow{tcp6}},
		{"nobody", zone, nil, nil},
		{"no flows", zone, []netip.Addr{netip.MustParseAddr("fd77:1::6")}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t, Config{NetNS: int(ns), Zone: c.zone})
			if _, err := s.Flows(t.Context(), c.addrs); err != nil { // what is kept of it must not show in the next
				t.Fatal(err)
			}
			got, err := s.Flows(t.Context(), c.addrs)
			if err != nil {
				t.Fatal(err)
			}
			order := func(a, b hwabstraction.Flow) int {
				return cmp.Or(a.VM.Addr.Compare(b.VM.Addr), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.VM.Port, b.VM.Port), cmp.Compare(a.Peer.Port, b.Peer.Port))
			}
			slices.SortFunc(got, order)
			slices.SortFunc(c.want, order)
			addr := gocmp.Comparer(func(a, b netip.Addr) bool { return a == b })
			if diff := gocmp.Diff(c.want, got, addr); diff != "" {
				t.Errorf("flows (-want +got):\n%s", diff)
			}
		})
	}
}

func open(t *testing.T, cfg Config) *Source {
	t.Helper()
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestFlowsEndsWithContext(t *testing.T) {
	s := open(t, Config{NetNS: int(newNamespace(t))})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Flows(ctx, []netip.Addr{vm4}); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("a dump after its context's end: %v", err)
	}
	if _, err := s.Flows(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("no address after the context's end: %v", err)
	}
}

func TestOpenWithoutNamespace(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := Open(Config{NetNS: int(f.Fd())}); err == nil {
		t.Error("opened a source in a namespace that is none")
	}
}
