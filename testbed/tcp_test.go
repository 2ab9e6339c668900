package testbed

import (
	"testing"
	"time"

	"github.com/dpmip/dpmip/testbed/topology"
	"github.com/dpmip/dpmip/testbed/traffic"
)

func openTCP(t *testing.T, l *topology.Lab) *traffic.TCPGroup {
	t.Helper()
	g, err := traffic.OpenTCP(t.Context(), traffic.TCPConfig{
		Client: l.Endpoint(topology.CN, 4, 0), Server: l.Endpoint("vm1", 4, 8000), Connections: 4,
	})
	must(t, err)
	t.Cleanup(func() { g.Stop(0) })
	return g
}

// TestTimeoutsAreSeen pauses a VM for longer than TCP waits: connections live,
// but with time-outs, and only in the window of the pause.
func TestTimeoutsAreSeen(t *testing.T) {
	l := up(t)
	g := openTCP(t, l)
	before := g.Mark()
	must(t, l.Switch.Disconnect("vm1"))
	waitFor(t, func() bool { return g.Report(before, g.Mark()).Timeouts > 0 })
	must(t, l.Switch.Connect("vm1", topology.HVA))
	after := g.Mark()
	g.Stop(10 * time.Second)
	r := g.Report(before, after)
	wantAlive(t, g.Report(before, g.Mark()))
	if r.Timeouts == 0 || r.MaxStall < 100*time.Millisecond {
		t.Errorf("%+v, want time-outs and a stall", r)
	}
	if r := g.Report(traffic.TCPMark{}, before); r.Timeouts != 0 {
		t.Errorf("before the pause: %+v", r)
	}
}

// TestDeadConnectionsAreSeen stops while the VM is away: what was asked last is
// never answered.
func TestDeadConnectionsAreSeen(t *testing.T) {
	l := up(t)
	g := openTCP(t, l)
	must(t, l.Switch.Disconnect("vm1"))
	before := lostAtPorts(t, l)
	waitFor(t, func() bool { return lostAtPorts(t, l).Sub(before).TCP >= 4 })
	g.Stop(50 * time.Millisecond)
	if r := g.Report(traffic.TCPMark{}, g.Mark()); r.Survived != 0 || len(r.Errors) == 0 {
		t.Errorf("%+v, want no survivor", r)
	}
}
