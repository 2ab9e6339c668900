package software

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/hwabstraction"
)

// away redirects OLD from 0 to 1, where it is delivered.
func (l *lab) away(f fam, r hwabstraction.Redirect) {
	l.t.Helper()
	l.prepare(1, f, r.To, 2)
	l.must(l.dev[1].Activate(stamp(2)))
	r.Stamp, r.Address, r.Locator = stamp(2), f.old, f.locator[1]
	l.apply(0, hwabstraction.Put(r))
	l.must(l.dev[0].Arm(stamp(2)))
}

// listen serves TCP in a node: every connection gets back what it sends.
func (n *node) listen(at netip.AddrPort) {
	n.t.Helper()
	var ln net.Listener
	n.in(func() (err error) {
		ln, err = net.Listen("tcp", at.String())
		return err
	})
	n.t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); io.Copy(c, c) }()
		}
	}()
}

// dial connects by TCP from a node's address.
func (n *node) dial(from netip.Addr, to netip.AddrPort) (c net.Conn, err error) {
	n.t.Helper()
	n.in(func() error {
		d := net.Dialer{Timeout: 3 * time.Second, LocalAddr: &net.TCPAddr{IP: from.AsSlice()}}
		c, err = d.Dial("tcp", to.String())
		return nil
	})
	return c, err
}

// echo sends size random bytes and wants them back.
func echo(t *testing.T, c net.Conn, size int) {
	t.Helper()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	out := make([]byte, size)
	rand.Read(out)
	go c.Write(out)
	in := make([]byte, size)
	if n, err := io.ReadFull(c, in); err != nil || !bytes.Equal(in, out) {
		t.Fatalf("%d of %d bytes came back, equal %t: %v", n, size, bytes.Equal(in, out), err)
	}
}

// TestTCP sends segmented TCP through a redirect to addresses with equal and
// other checksums, and over a path with a smaller MTU than the sender's.
func TestTCP(t *testing.T) {
	for _, f := range fams {
		for _, c := range []struct {
			name string
			d    netip.Addr
			mtu  uint16
		}{{"neutral", f.d, 0}, {"other sum", f.odd, 0}, {"small path", f.odd, 1300}} {
			t.Run(f.name+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				l := newLab(t, AttachAuto)
				l.away(f, hwabstraction.Redirect{To: c.d, PathMTU: c.mtu})
				at := netip.AddrPortFrom(f.old, 5000)
				l.vm[1].listen(at)
				conn, err := l.spine.dial(f.peer, at)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				echo(t, conn, 4<<20)
			})
		}
	}
}

// TestLargeUDP sends 4000 bytes without "do not fragment" over a path of 1300
// bytes: the source fragments again (IPv4) or tells the sender (IPv6).
func TestLargeUDP(t *testing.T) {
	for _, f := range fams {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, AttachAuto)
			l.away(f, hwabstraction.Redirect{To: f.odd, PathMTU: 1300})
			at := netip.AddrPortFrom(f.old, 4000)
			in, out := l.vm[1].udp(at), l.spine.udp(netip.AddrPortFrom(f.peer, 0))
			want := make([]byte, 4000)
			rand.Read(want)
			got := make([]byte, 8000)
			for try := range 5 { // the first tells an IPv6 sender the MTU
				if _, err := out.WriteToUDPAddrPort(want, at); err != nil && !errors.Is(err, syscall.EMSGSIZE) {
					t.Fatal(err)
				}
				in.SetReadDeadline(time.Now().Add(time.Second))
				n, err := in.Read(got)
				if err == nil && bytes.Equal(got[:n], want) {
					return
				}
				if f.name == "v4" || try == 4 {
					t.Fatalf("try %d: %d bytes: %v", try, n, err)
				}
			}
		})
	}
}

// TestHopLimit sees that the stack answers a packet whose hop limit ends at
// the source, quoting the old address.
func TestHopLimit(t *testing.T) {
	for _, f := range fams {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, AttachAuto)
			l.away(f, hwabstraction.Redirect{To: f.d})
			c := l.spine.udp(netip.AddrPortFrom(f.peer, 0))
			raw, err := c.SyscallConn()
			l.must(err)
			l.must(raw.Control(func(fd uintptr) {
				if f.old.Is4() {
					unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TTL, 1)
					unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVERR, 1)
				} else {
					unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, 1)
					unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1)
				}
			}))
			send(t, c, netip.AddrPortFrom(f.old, 4000), 1)
			c.SetReadDeadline(time.Now().Add(5 * time.Second))
			if _, err := c.Read(make([]byte, 10)); !errors.Is(err, syscall.EHOSTUNREACH) {
				t.Errorf("hop limit 1: %v, want %v from Time Exceeded", err, syscall.EHOSTUNREACH)
			}
			if drops, err := l.dev[0].Drops(t.Context()); err != nil || drops["hop_limit"] != 1 {
				t.Errorf("counted %v, %v", drops, err)
			}
		})
	}
}

// TestReject opens new TCP connections and UDP flows to an address that was
// renumbered: refused at once by the source; an established one goes on.
func TestReject(t *testing.T) {
	for _, f := range fams {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, AttachAuto)
			l.away(f, hwabstraction.Redirect{To: f.d})
			at := netip.AddrPortFrom(f.old, 5000)
			l.vm[1].listen(at)
			old, err := l.spine.dial(f.peer, at)
			if err != nil {
				t.Fatal(err)
			}
			defer old.Close()
			l.away(f, hwabstraction.Redirect{To: f.d, New: hwabstraction.NewReject})
			for i := range 50 {
				if c, err := l.spine.dial(f.peer, at); !errors.Is(err, syscall.ECONNREFUSED) {
					if c != nil {
						c.Close()
					}
					t.Fatalf("attempt %d: %v, want %v", i, err, syscall.ECONNREFUSED)
				}
			}
			echo(t, old, 100_000)
			l.refusesUDP(f)
		})
	}
}

// refusesUDP wants an ICMP error for a datagram of a new flow.
func (l *lab) refusesUDP(f fam) {
	l.t.Helper()
	var c net.Conn
	l.spine.in(func() (err error) {
		d := net.Dialer{LocalAddr: &net.UDPAddr{IP: f.peer.AsSlice()}}
		c, err = d.Dial("udp", netip.AddrPortFrom(f.old, 4001).String())
		return err
	})
	defer c.Close()
	fmt.Fprint(c, "new")
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	_, err := c.Read(make([]byte, 10))
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		l.t.Errorf("a datagram of a new flow: %v, want an ICMP error", err)
	}
}
