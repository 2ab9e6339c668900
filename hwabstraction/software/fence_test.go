package software

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestFence sends to a VM, and after the fence everything has arrived: reading
// waits for nothing.
func TestFence(t *testing.T) {
	l := newLab(t, AttachAuto)
	f := fams[0]
	l.serve(0, f, 1)
	l.must(l.dev[0].Activate(stamp(1)))
	at := netip.AddrPortFrom(f.old, 4000)
	in, out := l.vm[0].udp(at), l.spine.udp(netip.AddrPortFrom(f.peer, 0))
	in.SetReadDeadline(time.Now().Add(5 * time.Second))
	send(t, out, at, 0) // resolves neighbours on the way
	if _, err := in.Read(make([]byte, 64)); err != nil {
		t.Fatal(err)
	}
	for round := range 50 {
		const burst = 100
		for k := range burst {
			send(t, out, at, k)
		}
		l.must(l.dev[0].Fence(t.Context()))
		if n := waiting(t, in); n != burst {
			t.Fatalf("round %d: %d of %d datagrams were there after the fence", round, n, burst)
		}
	}
}

// waiting reads the datagrams that a socket has by now.
func waiting(t *testing.T, c *net.UDPConn) (n int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 64)
	for err == nil {
		if cerr := raw.Control(func(fd uintptr) { _, _, err = unix.Recvfrom(int(fd), b, unix.MSG_DONTWAIT) }); cerr != nil {
			t.Fatal(cerr)
		}
		if err == nil {
			n++
		}
	}
	if !errors.Is(err, unix.EAGAIN) {
		t.Fatal(err)
	}
	return n
}

// TestFenceEnds ends with its context.
func TestFenceEnds(t *testing.T) {
	l := newLab(t, AttachAuto)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.dev[0].Fence(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Fence with an ended context: %v", err)
	}
}
