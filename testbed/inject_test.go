package testbed

import (
	"bytes"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/testbed/netns"
	"github.com/dpmip/dpmip/testbed/park"
	"github.com/dpmip/dpmip/testbed/topology"
)

func holdAt(t *testing.T, ns *netns.NS, link string) *park.Park {
	t.Helper()
	p, err := park.New(ns, link)
	must(t, err)
	t.Cleanup(p.Remove)
	return p
}

// vnetHeader is the length of struct virtio_net_hdr.
const vnetHeader = 10

// tap records the UDP frames that leave a link and can send them again.
type tap struct {
	t     *testing.T
	fd    int
	index int
	done  chan struct{}
	wait  sync.WaitGroup

	mu     sync.Mutex // guards the fields below
	on     bool
	frames [][]byte
}

func openTap(t *testing.T, ns *netns.NS, link string) *tap {
	t.Helper()
	index, err := ns.Index(link)
	must(t, err)
	tp := &tap{t: t, index: index, done: make(chan struct{})}
	must(t, ns.Do(func() error {
		tp.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0x0300) // ETH_P_ALL, big-endian
		return err
	}))
	// The frames carry unfinished checksums; the kernel's own header before each
	// frame says so, both ways.
	must(t, unix.SetsockoptInt(tp.fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1))
	tick := unix.Timeval{Usec: 10000}
	must(t, unix.SetsockoptTimeval(tp.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tick))
	must(t, unix.Bind(tp.fd, &unix.SockaddrLinklayer{Protocol: 0x0300, Ifindex: index}))
	tp.wait.Go(tp.run)
	t.Cleanup(func() {
		close(tp.done)
		tp.wait.Wait()
		unix.Close(tp.fd)
	})
	return tp
}

func (tp *tap) run() {
	buf := make([]byte, 2048)
	for {
		n, from, err := unix.Recvfrom(tp.fd, buf, 0)
		select {
		case <-tp.done:
			return
		default:
		}
		if err != nil {
			continue
		}
		ll := from.(*unix.SockaddrLinklayer)
		eth := buf[vnetHeader:]
		udp6 := n > 64 && eth[12] == 0x86 && eth[20] == unix.IPPROTO_UDP
		tp.mu.Lock()
		if tp.on && ll.Pkttype == unix.PACKET_OUTGOING && udp6 {
			tp.frames = append(tp.frames, bytes.Clone(buf[:n]))
		}
		tp.mu.Unlock()
	}
}

func (tp *tap) record(on bool) {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	tp.on = on
}

// recorded says how many frames there are.
func (tp *tap) recorded() int {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	return len(tp.frames)
}

// again sends every recorded frame once more and says how many.
func (tp *tap) again() uint64 {
	tp.t.Helper()
	tp.mu.Lock()
	defer tp.mu.Unlock()
	for _, f := range tp.frames {
		must(tp.t, unix.Sendto(tp.fd, f, 0, &unix.SockaddrLinklayer{Ifindex: tp.index, Halen: 6}))
	}
	return uint64(len(tp.frames))
}

// TestInjectedFaultsAreSeen loses datagrams at a paused VM, sends these very
// frames again once newer ones have arrived (late: reordered, no longer lost),
// and once more (duplicated).
func TestInjectedFaultsAreSeen(t *testing.T) {
	l := up(t)
	ld := start(t, l, 0)
	tp := openTap(t, l.Node(topology.CN).NS, topology.FabricPort)
	must(t, l.Switch.Disconnect("vm1"))
	settled := lostAtPorts(t, l).UDP
	waitFor(t, func() bool { return lostAtPorts(t, l).UDP > settled+100 })
	tp.record(true)
	waitFor(t, func() bool { return tp.recorded() >= 50 })
	tp.record(false)
	settled = lostAtPorts(t, l).UDP
	waitFor(t, func() bool { return lostAtPorts(t, l).UDP > settled+100 })
	must(t, l.Switch.Connect("vm1", topology.HVA))
	ld.flow(500)
	late := tp.again()
	ld.flow(500)
	twice := tp.again()
	ld.flow(100)
	r, _ := ld.stop()
	dropped := lostAtPorts(t, l).UDP
	t.Logf("injected %d, dropped %d, cn->vm %+v", late, dropped, r.AToB)
	if late == 0 || twice != late {
		t.Fatalf("injected %d late and %d twice: the test does not test", late, twice)
	}
	if r.AToB.Reordered != late {
		t.Errorf("reordered %d, injected %d late datagrams", r.AToB.Reordered, late)
	}
	if r.AToB.Duplicated != twice {
		t.Errorf("duplicated %d, injected %d", r.AToB.Duplicated, twice)
	}
	if r.AToB.Lost+late != dropped {
		t.Errorf("lost %d + %d that came late, but the switch dropped %d", r.AToB.Lost, late, dropped)
	}
	wantClean(t, "vm->cn", r.BToA)
}

// TestLongHoldIsReleasedWhole holds more than any queue of the machine takes at
// once, and lets it go.
func TestLongHoldIsReleasedWhole(t *testing.T) {
	const held = 5000
	l := up(t)
	ld := start(t, l, 0)
	hold := holdAt(t, l.Node(topology.HVA).NS, "vm1")
	before, err := l.Drops()
	must(t, err)
	must(t, hold.Close())
	waitFor(t, func() bool { st, err := hold.Stats(); must(t, err); return st.Packets > held })
	must(t, hold.Open())
	ld.flow(500)
	r, _ := ld.stop()
	after, err := l.Drops()
	must(t, err)
	if after != before {
		t.Errorf("the lab itself dropped %d frames", after-before)
	}
	wantClean(t, "cn->vm", r.AToB)
	wantClean(t, "vm->cn", r.BToA)
	if st, err := hold.Stats(); err != nil || st.Packets != 0 || st.Dropped != 0 {
		t.Errorf("the hold is left with %+v (%v)", st, err)
	}
}
