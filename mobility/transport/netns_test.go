package transport

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// space is a network namespace of a test's own, with addresses on its loopback.
// It is gone with the last handle and socket.
type space struct {
	work chan func()
}

// newSpace makes one. What opens sockets in it runs by do.
func newSpace(t testing.TB, addrs ...netip.Addr) *space {
	t.Helper()
	s := &space{work: make(chan func())}
	ready := make(chan error)
	go func() {
		// The thread is never unlocked: it dies with the goroutine, and with it
		// the namespace.
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = setUp(addrs)
		}
		ready <- err
		for f := range s.work {
			f()
		}
	}()
	t.Cleanup(func() { close(s.work) })
	if err := <-ready; err != nil {
		t.Fatalf("network namespace: %v (these tests need root)", err)
	}
	return s
}

func setUp(addrs []netip.Addr) error {
	ns, err := netns.Get()
	if err != nil {
		return err
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := h.LinkSetUp(lo); err != nil {
		return err
	}
	for _, a := range addrs {
		n := &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
		if err := h.AddrAdd(lo, &netlink.Addr{IPNet: n, Flags: unix.IFA_F_NODAD}); err != nil {
			return err
		}
		if a.Is4() {
			continue
		}
		// The kernel adds an IPv6 address's local route some time later; until
		// then packets to it are lost.
		local := &netlink.Route{LinkIndex: lo.Attrs().Index, Dst: n, Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL}
		if err := h.RouteAdd(local); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("route to %s: %w", a, err)
		}
	}
	return nil
}

// do runs f on the namespace's thread.
func (s *space) do(f func()) {
	done := make(chan struct{})
	s.work <- func() { defer close(done); f() }
	<-done
}
