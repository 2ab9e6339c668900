package fib

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/router"
)

// follow runs a Journal in the calling thread's namespace until the test ends.
func follow(t *testing.T, j *Journal) error {
	ns, err := unix.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
			ended <- err
			return
		}
		ended <- j.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		unix.Close(ns)
	})
	select {
	case <-j.Ready():
		return nil
	case <-time.After(10 * time.Second):
		return errors.New("the journal does not get ready")
	}
}

func TestLookupTellsWhoAndSinceWhen(t *testing.T) {
	inNamespace(t, func(w *world) {
		a := netip.MustParseAddr("2001:db8:a::7")
		f, err := Open(Metrics{})
		w.must(err)
		defer f.Close()
		j := NewJournal()
		w.must(follow(t, j))
		if t.Failed() {
			return
		}
		if got, err := Lookup(f.handle, a); !errors.Is(err, ErrNoNextHop) {
			t.Errorf("without a route: %+v, %v", got, err)
		}
		changed, before := j.Changed(), time.Now()
		for _, err := range f.Apply([]router.Change{{Address: a, Locator: netip.MustParseAddr("2001:db8:1::2")}}) {
			w.must(err)
		}
		got := w.awaitSince(f.handle, j, a, changed)
		if got == nil {
			return
		}
		if got.Owner() != "dpmip" || got.Metric != 20 || got.Prefix != netip.PrefixFrom(a, 128) || !got.Usable() || got.Since.Before(before) {
			t.Errorf("Lookup = %+v by %s, want dpmip's route of metric 20, since after %v", got, got.Owner(), before)
		}
		if !got.By([]netip.Addr{netip.MustParseAddr("2001:db8:1::2")}) || got.By([]netip.Addr{a}) {
			t.Errorf("next hops %+v", got.NextHops)
		}
	})
}

// awaitSince looks again at each change until the route has a time.
func (w *world) awaitSince(h *netlink.Handle, j *Journal, a netip.Addr, changed <-chan struct{}) *Found {
	w.t.Helper()
	for {
		got, err := Lookup(h, a)
		if err == nil {
			if got.Since = j.Since(*got); !got.Since.IsZero() {
				return got
			}
		}
		select {
		case <-changed:
			changed = j.Changed()
		case <-time.After(10 * time.Second):
			w.t.Errorf("%s: no notice of the route (%v)", a, err)
			return nil
		}
	}
}

func TestLookupShowsOthersRoutes(t *testing.T) {
	inNamespace(t, func(w *world) {
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		w.must(err)
		defer h.Close()
		a := netip.MustParseAddr("10.1.1.7")
		for protocol, owner := range map[int]string{188: "ospf", 12: "bird", 77: "protocol 77"} {
			dst, err := netlink.ParseIPNet("10.1.1.7/32")
			w.must(err)
			w.must(netlink.RouteReplace(&netlink.Route{Dst: dst, Protocol: netlink.RouteProtocol(protocol), MultiPath: []*netlink.NexthopInfo{
				{LinkIndex: w.left.Attrs().Index, Gw: netip.MustParseAddr("10.0.1.2").AsSlice()},
				{LinkIndex: w.right.Attrs().Index, Gw: netip.MustParseAddr("10.0.2.2").AsSlice()},
			}}))
			got, err := Lookup(h, a)
			if err != nil || got.Owner() != owner || len(got.NextHops) != 2 || !got.By([]netip.Addr{netip.MustParseAddr("10.0.2.2")}) {
				t.Errorf("Lookup = %+v, %v, want two ways by %s", got, err, owner)
			}
		}
		w.route("10.1.0.0/16", "10.0.1.2", w.left)
		if got, err := Lookup(h, netip.MustParseAddr("10.1.9.9")); err != nil || got.Prefix != netip.MustParsePrefix("10.1.0.0/16") {
			t.Errorf("Lookup = %+v, %v, want the /16", got, err)
		}
	})
}

func TestFIBsOfTwoMetricsDoNotMeet(t *testing.T) {
	inNamespace(t, func(w *world) {
		a := netip.MustParseAddr("2001:db8:a::7")
		ours, imported := w.open(Metrics{Default: 20}), w.open(Metrics{Default: 30})
		defer ours.Close()
		defer imported.Close()
		for f, via := range map[*FIB]string{ours: "2001:db8:1::2", imported: "2001:db8:2::2"} {
			w.must(f.Apply([]router.Change{{Address: a, Locator: netip.MustParseAddr(via)}})[0])
		}
		for _, f := range []*FIB{ours, imported} {
			if moved, err := f.Refresh(); err != nil || len(moved) != 0 {
				t.Errorf("Refresh of metric %d = %v, %v, want nothing to do", f.metrics.Of(a), moved, err)
			}
		}
		w.must(ours.Apply([]router.Change{{Address: a}})[0])
		got, err := Lookup(ours.handle, a)
		if err != nil || got.Metric != 30 {
			t.Errorf("Lookup = %+v, %v, want the route of metric 30", got, err)
		}
		again := w.open(Metrics{Default: 30})
		defer again.Close()
		if left, err := again.Leftovers(); err != nil || len(left) != 1 || left[0] != a {
			t.Errorf("Leftovers = %v, %v, want %s", left, err, a)
		}
	})
}

func (w *world) open(m Metrics) *FIB {
	f, err := Open(m)
	w.must(err)
	return f
}
