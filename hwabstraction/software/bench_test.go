package software

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/hwabstraction"
)

// blaster sends one frame again and again, 64 with a call. What the receiver
// does with a frame is done before the call returns: a veth's receive side runs
// on the sender's CPU.
type blaster struct {
	fd   int
	msgs [64]mmsghdr
	keep []byte
	to   unix.RawSockaddrLinklayer
	iov  unix.Iovec
}

type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
	_   uint32
}

func newBlaster(n *node, port string, frame []byte) *blaster {
	n.t.Helper()
	b := &blaster{keep: frame}
	n.in(func() (err error) {
		b.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
		return err
	})
	n.t.Cleanup(func() { unix.Close(b.fd) })
	b.to = unix.RawSockaddrLinklayer{Family: unix.AF_PACKET, Ifindex: int32(n.link(port).Attrs().Index), Halen: 6}
	b.iov.Base = &b.keep[0]
	b.iov.SetLen(len(frame))
	for i := range b.msgs {
		h := &b.msgs[i].hdr
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&b.to)), uint32(unsafe.Sizeof(b.to))
		h.Iov = &b.iov
		h.SetIovlen(1)
	}
	return b
}

// send sends n frames and tells how long it took.
func (b *blaster) send(t testing.TB, n int) time.Duration {
	start := time.Now()
	for n > 0 {
		sent, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(b.fd), uintptr(unsafe.Pointer(&b.msgs[0])), uintptr(min(n, len(b.msgs))), 0, 0, 0)
		if errno != 0 && errno != unix.ENOBUFS && errno != unix.EAGAIN {
			t.Fatal(errno)
		}
		if errno == 0 {
			n -= int(sent)
		}
	}
	return time.Since(start)
}

// pathOf builds a hypervisor between two wires; setup makes it forward
// packets for numbered(1), out of fab1.
func pathOf(t testing.TB, setup func(hv *node, l *lab)) *blaster {
	t.Helper()
	l := &lab{t: t}
	in, out := newNode(t), newNode(t)
	hv := newNode(t)
	l.hv[0] = hv
	wire(hv, "fab0", in, "far0")
	wire(hv, "fab1", out, "far1")
	hv.forward()
	hv.addr("fab0", "fd01::2/64")
	hv.addr("fab1", "fd02::2/64")
	hv.must(hv.nl.NeighAdd(&netlink.Neigh{
		LinkIndex: hv.link("fab1").Attrs().Index, IP: net.ParseIP("fd02::1"), State: netlink.NUD_PERMANENT,
		HardwareAddr: out.link("far1").Attrs().HardwareAddr,
	}))
	hv.via("fab1", "fd02::1", "::/0")
	setup(hv, l)
	return newBlaster(in, "far0", frameTo(hv.link("fab0").Attrs().HardwareAddr, in.link("far0").Attrs().HardwareAddr))
}

// frameTo is a UDP datagram for numbered(1) of 64 bytes.
func frameTo(dst, src net.HardwareAddr) []byte {
	f := append(append([]byte{}, dst...), src...)
	f = append(f, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 64, 17, 64)
	from, to := netip.MustParseAddr("fd09::9").As16(), numbered(1).As16()
	f = append(append(f, from[:]...), to[:]...)
	udp := make([]byte, 64)
	binary.BigEndian.PutUint16(udp[0:], 4000)
	binary.BigEndian.PutUint16(udp[2:], 4001)
	binary.BigEndian.PutUint16(udp[4:], 64)
	udp[6] = 1
	return append(f, udp...)
}

func redirectPath(hv *node, l *lab) {
	l.dir[0] = l.t.TempDir()
	l.t.Cleanup(func() { unix.Unmount(l.config(0).BPFDir, unix.MNT_DETACH) })
	l.open(0)
	l.apply(0, hwabstraction.Put(hwabstraction.Redirect{
		Stamp: stamp(1), Address: numbered(1), To: swapped(numbered(1)), Locator: netip.MustParseAddr("fd02::1"),
	}))
	l.must(l.dev[0].Arm(stamp(1)))
}

// swapped has the same one's-complement sum.
func swapped(a netip.Addr) netip.Addr {
	b := a.As16()
	b[2], b[3], b[14], b[15] = b[14], b[15], b[2], b[3]
	return netip.AddrFrom16(b)
}

// conntrackPath wakes conntrack.
func conntrackPath(hv *node, l *lab) {
	c, err := nftables.New(nftables.WithNetNSFd(int(hv.ns)))
	l.must(err)
	t := c.AddTable(&nftables.Table{Name: "t", Family: nftables.TableFamilyINet})
	chain := c.AddChain(&nftables.Chain{Table: t, Name: "c", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter})
	c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1}, &expr.Counter{},
	}})
	l.must(c.Flush())
}

// forwarded is how many packets a path has let out.
func forwarded(t testing.TB, hv *node) uint64 {
	return hv.link("fab1").Attrs().Statistics.TxPackets
}

// BenchmarkForward compares a translated redirect with the kernel's plain route
// and with its route and conntrack, in turns; the ratios are medians of the
// rounds, in packets per second.
func BenchmarkForward(b *testing.B) {
	var hvs [3]*node
	var paths [3]*blaster
	for i, setup := range []func(*node, *lab){func(*node, *lab) {}, redirectPath, conntrackPath} {
		paths[i] = pathOf(b, func(hv *node, l *lab) { hvs[i] = hv; setup(hv, l) })
		paths[i].send(b, 1000)
	}
	const round = 2_000
	var route, conntrack []float64
	var total [3]time.Duration
	b.ResetTimer()
	for range b.N {
		var took [3]time.Duration
		for i, p := range paths {
			before := forwarded(b, hvs[i])
			took[i] = p.send(b, round)
			total[i] += took[i]
			if n := forwarded(b, hvs[i]) - before; n < round {
				b.Fatalf("path %d forwarded %d of %d", i, n, round)
			}
		}
		route = append(route, float64(took[0])/float64(took[1]))
		conntrack = append(conntrack, float64(took[2])/float64(took[1]))
	}
	b.ReportMetric(median(route), "x-route")
	b.ReportMetric(median(conntrack), "x-route+ct")
	for i, name := range []string{"route", "redirect", "route+ct"} {
		b.ReportMetric(float64(b.N*round)/total[i].Seconds(), name+"-pps")
	}
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

// BenchmarkApply puts 10 000 redirects in one batch.
func BenchmarkApply(b *testing.B) {
	_, l := host(b, func(c *Config) { c.MaxRules = 32768 })
	const n = 10_000
	changes := redirects(n, stamp(1))
	for _, groups := range []int{1, n} {
		b.Run(fmt.Sprintf("groups=%d", groups), func(b *testing.B) {
			for i, c := range changes {
				r := c.Rule.(hwabstraction.Redirect)
				r.Stamp.Owner = [16]byte{2: byte(i % groups >> 8), 3: byte(i % groups)}
				changes[i] = hwabstraction.Put(r)
			}
			var took time.Duration
			for range b.N {
				start := time.Now()
				for _, r := range l.dev[0].Apply(b.Context(), changes) {
					if r.Err != nil {
						b.Fatal(r.Err)
					}
				}
				took += time.Since(start)
				for i := range changes {
					l.dev[0].Apply(b.Context(), []hwabstraction.Change{hwabstraction.Remove(changes[i].Target(), changes[i].Rule.Stamped())})
				}
			}
			b.ReportMetric(float64(b.N*n)/took.Seconds(), "rules/s")
		})
	}
}

// BenchmarkArm switches a group of 16 addresses.
func BenchmarkArm(b *testing.B) {
	_, l := host(b, nil)
	l.apply(0, redirects(16, stamp(1))...)
	d := l.dev[0]
	for b.Loop() {
		d.Disarm(stamp(1))
		d.Arm(stamp(1))
	}
}
