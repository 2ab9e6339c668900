package testbed

import (
	"context"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dpmip/dpmip/testbed/netns"
	"github.com/dpmip/dpmip/testbed/selector"
	"github.com/dpmip/dpmip/testbed/topology"
	"github.com/dpmip/dpmip/testbed/traffic"
)

const pps = 5000

func TestMain(m *testing.M) {
	if base := os.Getenv(crashBase); base != "" {
		crash(base, os.Getenv(crashHow))
		return
	}
	goleak.VerifyTestMain(m)
}

// up builds a lab with every VM running at its home, routed by hand.
func up(t *testing.T) *topology.Lab {
	t.Helper()
	l, err := topology.Up(topology.Options{Base: t.TempDir()})
	if err != nil {
		t.Fatalf("the harness needs root and network namespaces: %v", err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	must(t, l.RunResidents())
	return l
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// load is the traffic of a test between cn and vm1: a stream per family, and
// TCP connections.
type load struct {
	t       *testing.T
	streams []*traffic.Stream
	tcp     *traffic.TCPGroup
}

func start(t *testing.T, l *topology.Lab, connections int) *load {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	ld := &load{t: t}
	for i, family := range []int{6, 4} {
		s, err := traffic.OpenStream(traffic.StreamConfig{
			ID: uint32(i + 1), PPS: pps,
			A: l.Endpoint(topology.CN, family, 7000), B: l.Endpoint("vm1", family, 7000),
		})
		must(t, err)
		t.Cleanup(s.Stop)
		s.Start()
		ld.streams = append(ld.streams, s)
	}
	if connections > 0 {
		g, err := traffic.OpenTCP(ctx, traffic.TCPConfig{
			Client: l.Endpoint(topology.CN, 6, 0), Server: l.Endpoint("vm1", 6, 8000), Connections: connections,
		})
		must(t, err)
		t.Cleanup(func() { g.Stop(0) })
		ld.tcp = g
	}
	ld.flow(500)
	return ld
}

// flow waits until n more datagrams have arrived at each end of each stream.
func (ld *load) flow(n uint64) {
	ld.t.Helper()
	ctx, cancel := context.WithTimeout(ld.t.Context(), 20*time.Second)
	defer cancel()
	want := make([]uint64, len(ld.streams))
	for i, s := range ld.streams {
		a, b := s.Arrived()
		want[i] = max(a, b) + n
	}
	for i, s := range ld.streams {
		must(ld.t, s.WaitFor(ctx, want[i]))
	}
}

// stop ends everything and gives the sums of both families.
func (ld *load) stop() (r traffic.StreamReport, tcp traffic.TCPReport) {
	if ld.tcp != nil {
		ld.tcp.Stop(3 * time.Second)
		tcp = ld.tcp.Report(traffic.TCPMark{}, ld.tcp.Mark())
	}
	for _, s := range ld.streams {
		s.Stop()
	}
	for _, s := range ld.streams {
		w := s.Whole()
		r.AToB, r.BToA = r.AToB.Add(w.AToB), r.BToA.Add(w.BToA)
	}
	return r, tcp
}

// pause lets real time pass for a paused VM: nothing inside the lab marks its
// end, it is the time that the guest stands still.
func pause(d time.Duration) { <-time.After(d) }

func lostAtPorts(t *testing.T, l *topology.Lab) selector.Lost {
	t.Helper()
	lost, err := l.Switch.LostAtPorts("vm1")
	must(t, err)
	return lost
}

func wantClean(t *testing.T, what string, f traffic.Flow) {
	t.Helper()
	if f.Sent == 0 || f.Lost != 0 || f.Duplicated != 0 || f.Reordered != 0 || f.Damaged != 0 || f.Refused != 0 {
		t.Errorf("%s: %+v, want everything once and in order", what, f)
	}
}

func wantAlive(t *testing.T, r traffic.TCPReport) {
	t.Helper()
	if r.Survived != r.Connections || r.Connections == 0 {
		t.Errorf("tcp: %d of %d survived: %v", r.Survived, r.Connections, r.Errors)
	}
}

func TestNoMoveLosesNothing(t *testing.T) {
	l := up(t)
	ld := start(t, l, 16)
	ld.flow(2 * pps) // two seconds
	r, tcp := ld.stop()
	t.Logf("cn->vm %+v\nvm->cn %+v\ntcp %+v", r.AToB, r.BToA, tcp)
	wantClean(t, "cn->vm", r.AToB)
	wantClean(t, "vm->cn", r.BToA)
	wantAlive(t, tcp)
	if tcp.Timeouts != 0 {
		t.Errorf("tcp: %d time-outs", tcp.Timeouts)
	}
	if lost := lostAtPorts(t, l); lost.UDP != 0 {
		t.Errorf("lost at ports: %+v", lost)
	}
}

// TestMoveInTheWrongOrder takes the port away first and routes afterwards. What
// the receiver misses must be what the switch counted.
func TestMoveInTheWrongOrder(t *testing.T) {
	l := up(t)
	ld := start(t, l, 4)
	before := lostAtPorts(t, l)
	lostAt := func(hv string) uint64 {
		at, err := l.Switch.LostAtPort("vm1", hv)
		must(t, err)
		return at.UDP
	}
	must(t, l.Switch.Disconnect("vm1"))
	pause(25 * time.Millisecond)
	waitFor(t, func() bool { return lostAt(topology.HVA) > 0 })
	reroute(t, l)
	pause(25 * time.Millisecond)
	waitFor(t, func() bool { return lostAt(topology.HVB) > 0 })
	must(t, l.Switch.Connect("vm1", topology.HVB))
	ld.flow(500)
	r, tcp := ld.stop()
	lost := lostAtPorts(t, l).Sub(before)
	t.Logf("cn->vm %+v\nvm->cn %+v\nports %+v\ntcp %+v", r.AToB, r.BToA, lost, tcp)
	if r.AToB.Lost == 0 {
		t.Error("nothing was lost: the harness cannot see loss")
	}
	if r.AToB.Lost != lost.UDP {
		t.Errorf("receiver misses %d datagrams, the switch dropped %d", r.AToB.Lost, lost.UDP)
	}
	wantClean(t, "vm->cn", r.BToA)
	// What was under way when the pause began may arrive in it.
	if r.AToB.Blackout < 25*time.Millisecond || r.BToA.Blackout < 25*time.Millisecond {
		t.Errorf("blackout %v and %v, the pause alone was 50ms", r.AToB.Blackout, r.BToA.Blackout)
	}
	wantAlive(t, tcp)
}

// reroute leads vm1's addresses to hvB, from the destination outwards.
func reroute(t *testing.T, l *topology.Lab) {
	t.Helper()
	must(t, l.Serve("vm1", topology.HVB))
	must(t, l.Deliver("vm1", topology.HVB))
	for _, hop := range [][2]string{{topology.ToRB, topology.HVB}, {topology.Spine, topology.ToRB}, {topology.ToRA, topology.Spine}, {topology.HVA, topology.ToRA}} {
		must(t, l.Steer("vm1", hop[0], hop[1]))
	}
}

func TestVMThatIsNowhereReceivesNothing(t *testing.T) {
	l := up(t)
	ld := start(t, l, 0)
	must(t, l.Switch.Disconnect("vm1"))
	// It ends with 1000 datagrams in a row after which nothing has arrived, at the
	// VM or from it.
	settle(t, func() uint64 { return lostAtPorts(t, l).UDP }, 1000, func() (n uint64) {
		for _, s := range ld.streams {
			atA, atB := s.Arrived()
			n += atA + atB
		}
		return n
	})
	r, _ := ld.stop()
	if r.AToB.Lost != lostAtPorts(t, l).UDP {
		t.Errorf("lost %d, counted %d", r.AToB.Lost, lostAtPorts(t, l).UDP)
	}
	wantClean(t, "vm->cn", r.BToA)
}

// waitFor polls a condition that the kernel brings about, for at most 20 s.
func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatal("did not happen within 20 s")
		case <-tick.C:
		}
	}
}

// settle waits until nothing that was under way arrives any more: more than n
// packets have been counted elsewhere, and arrived is what it was before them.
func settle(t *testing.T, elsewhere func() uint64, n uint64, arrived func() uint64) {
	t.Helper()
	waitFor(t, func() bool {
		before, from := arrived(), elsewhere()
		waitFor(t, func() bool { return elsewhere() > from+n })
		return arrived() == before
	})
}

// TestMoveInTheRightOrder holds at the destination's port, routes, then
// switches: nothing may be lost, and TCP may not even time out.
func TestMoveInTheRightOrder(t *testing.T) {
	l := up(t)
	ld := start(t, l, 16)
	hold := holdAt(t, l.Node(topology.HVB).NS, "vm1")
	before := lostAtPorts(t, l)
	must(t, hold.Close())
	reroute(t, l)
	// What went by hvA has reached the VM before its port is taken away.
	settle(t, func() uint64 { st, err := hold.Stats(); must(t, err); return uint64(st.Packets) }, 50, func() (n uint64) {
		for _, s := range ld.streams {
			_, atB := s.Arrived()
			n += atB
		}
		return n
	})
	must(t, l.Switch.Disconnect("vm1"))
	pause(50 * time.Millisecond)
	must(t, l.Switch.Connect("vm1", topology.HVB))
	must(t, hold.Open())
	ld.flow(500)
	r, tcp := ld.stop()
	lost := lostAtPorts(t, l).Sub(before)
	t.Logf("cn->vm %+v\nvm->cn %+v\nports %+v\ntcp %+v", r.AToB, r.BToA, lost, tcp)
	wantClean(t, "cn->vm", r.AToB)
	wantClean(t, "vm->cn", r.BToA)
	wantAlive(t, tcp)
	if tcp.Timeouts != 0 {
		t.Errorf("tcp: %d time-outs in a pause of 50 ms with everything held", tcp.Timeouts)
	}
	if lost.UDP != 0 {
		t.Errorf("lost at ports: %+v", lost)
	}
	if r.AToB.MaxLatency < 50*time.Millisecond {
		t.Errorf("no datagram waited longer than %v: nothing was held", r.AToB.MaxLatency)
	}
}

func TestNetworksOfTheLabAreGone(t *testing.T) {
	base := t.TempDir()
	l, err := topology.Up(topology.Options{Base: base})
	must(t, err)
	must(t, l.Close())
	if removed, err := netns.Sweep(base, ""); err != nil || len(removed) != 0 {
		t.Errorf("Close left %v (%v)", removed, err)
	}
}
