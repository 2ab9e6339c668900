package fib

import (
	"errors"
	"net/netip"
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/router"
)

// world is a namespace with two links; a locator is reached over one of them.
type world struct {
	t     *testing.T
	left  netlink.Link
	right netlink.Link
}

func inNamespace(t *testing.T, body func(w *world)) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("this test needs root to make a network namespace")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Errorf("unshare: %v", err)
			return
		}
		w := &world{t: t}
		w.left, w.right = w.link("left", "10.0.1.1/24", "2001:db8:1::1/64"), w.link("right", "10.0.2.1/24", "2001:db8:2::1/64")
		if !t.Failed() {
			body(w)
		}
	}()
	<-done
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Error(err)
	}
}

func (w *world) link(name string, addrs ...string) netlink.Link {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	w.must(netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: name + "-peer"}))
	for _, n := range []string{name, name + "-peer"} {
		l, err := netlink.LinkByName(n)
		w.must(err)
		w.must(netlink.LinkSetUp(l))
	}
	l, err := netlink.LinkByName(name)
	w.must(err)
	for _, a := range addrs {
		ad, err := netlink.ParseAddr(a)
		w.must(err)
		ad.Flags = unix.IFA_F_NODAD
		w.must(netlink.AddrAdd(l, ad))
	}
	return l
}

func (w *world) route(prefix, via string, l netlink.Link) {
	p := netip.MustParsePrefix(prefix)
	dst, err := netlink.ParseIPNet(p.String())
	w.must(err)
	w.must(netlink.RouteReplace(&netlink.Route{Dst: dst, Gw: netip.MustParseAddr(via).AsSlice(), LinkIndex: l.Attrs().Index}))
}

func TestRoutesFollowTheLocator(t *testing.T) {
	inNamespace(t, func(w *world) {
		f, err := Open(Metrics{})
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		w.route("2001:db8:b::/64", "2001:db8:1::2", w.left)
		w.route("10.20.0.0/16", "10.0.1.2", w.left)
		chs := []router.Change{
			{Address: netip.MustParseAddr("2001:db8:a::7"), Locator: netip.MustParseAddr("2001:db8:b::1")},
			{Address: netip.MustParseAddr("10.1.1.7"), Locator: netip.MustParseAddr("10.20.0.1")},
			{Address: netip.MustParseAddr("2001:db8:a::8"), Locator: netip.MustParseAddr("2001:db8:1::9")}, // on-link
		}
		for i, err := range f.Apply(chs) {
			if err != nil {
				t.Errorf("change %d: %v", i, err)
			}
		}
		w.check(map[string]string{"2001:db8:a::7": "2001:db8:1::2", "10.1.1.7": "10.0.1.2", "2001:db8:a::8": "2001:db8:1::9"})

		w.route("2001:db8:b::/64", "2001:db8:2::2", w.right)
		w.route("10.20.0.0/16", "10.0.2.2", w.right)
		moved, err := f.Refresh()
		if err != nil || len(moved) != 2 {
			t.Errorf("Refresh = %v, %v, want two moved routes", moved, err)
		}
		w.check(map[string]string{"2001:db8:a::7": "2001:db8:2::2", "10.1.1.7": "10.0.2.2", "2001:db8:a::8": "2001:db8:1::9"})
		if moved, err := f.Refresh(); err != nil || len(moved) != 0 {
			t.Errorf("a second Refresh = %v, %v, want nothing to do", moved, err)
		}
	})
}

func TestRoutesTakenAwayComeBack(t *testing.T) {
	inNamespace(t, func(w *world) {
		f, err := Open(Metrics{})
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		a, loc := netip.MustParseAddr("2001:db8:a::7"), netip.MustParseAddr("2001:db8:1::2")
		for _, err := range f.Apply([]router.Change{{Address: a, Locator: loc}}) {
			w.must(err)
		}
		rs, err := netlink.RouteGet(a.AsSlice())
		w.must(err)
		w.must(netlink.RouteDel(&rs[0]))
		moved, err := f.Refresh()
		if err != nil || len(moved) != 1 || moved[0].Err != nil {
			t.Errorf("Refresh = %v, %v, want the route put right", moved, err)
		}
		w.check(map[string]string{"2001:db8:a::7": "2001:db8:1::2"})
		for range 2 {
			for _, err := range f.Apply([]router.Change{{Address: a}}) {
				w.must(err)
			}
		}
		w.check(map[string]string{})
	})
}

func TestNoWayToTheLocator(t *testing.T) {
	inNamespace(t, func(w *world) {
		f, err := Open(Metrics{})
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		ch := router.Change{Address: netip.MustParseAddr("2001:db8:a::7"), Locator: netip.MustParseAddr("2001:db8:b::1")}
		if errs := f.Apply([]router.Change{ch}); !errors.Is(errs[0], ErrNoNextHop) {
			t.Errorf("err = %v, want ErrNoNextHop", errs[0])
		}
		w.check(map[string]string{})
		w.route("2001:db8:b::/64", "2001:db8:2::2", w.right) // the way comes later
		if moved, err := f.Refresh(); err != nil || len(moved) != 1 || moved[0].Err != nil {
			t.Errorf("Refresh = %v, %v, want the route in place", moved, err)
		}
		w.check(map[string]string{"2001:db8:a::7": "2001:db8:2::2"})
	})
}

// check asks the kernel itself which way each address goes.
func (w *world) check(want map[string]string) {
	w.t.Helper()
	have, err := Read(nil)
	w.must(err)
	if len(have) != len(want) {
		w.t.Errorf("installed = %v, want %v", have, want)
	}
	for a, via := range want {
		rs, err := netlink.RouteGet(netip.MustParseAddr(a).AsSlice())
		if err != nil || len(rs) == 0 {
			w.t.Errorf("%s: %v", a, err)
			continue
		}
		if gw, ok := netip.AddrFromSlice(rs[0].Gw); !ok || gw.Unmap() != netip.MustParseAddr(via) {
			w.t.Errorf("%s goes via %v, want %s", a, rs[0].Gw, via)
		}
	}
}
