package faults

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dpmip/dpmip/testbed/clock"
	"github.com/dpmip/dpmip/testbed/scenario"
	"github.com/dpmip/dpmip/testbed/topology"
	"github.com/dpmip/dpmip/testbed/traffic"
)

// mover is the VM that moves; it is at home at hvA.
const mover = "vm1"

var families = []int{6, 4}

// centre is a data centre that several tests use, one after the other.
type centre struct {
	dc    *scenario.DataCentre
	at    string       // where the mover is
	slots []netip.Addr // that it has now; nil = those of the plan
	ports uint16       // given to traffic so far
}

// world is a centre in the hands of one test.
type world struct {
	*centre
	t   *testing.T
	ctx context.Context
}

// open starts a data centre with the mover and its neighbours attached; change
// sees it before they are.
func open(t *testing.T, s scenario.Settings, change func(*world)) *centre {
	t.Helper()
	s.Bin, s.Seed, s.Slow, s.Backend = *binDir, 1, *slow, *device
	dc, err := scenario.Start(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	c := &centre{dc: dc, at: topology.HVA}
	w := c.in(t)
	if change != nil {
		change(w)
	}
	for _, v := range dc.Lab.Plan.VMs {
		if err := dc.Attach(w.ctx, v.Name, families); err != nil {
			w.close()
			t.Fatal(err)
		}
	}
	return c
}

func (c *centre) close() {
	if c != nil {
		c.dc.Close()
	}
}

// in lends the centre to a test.
func (c *centre) in(t *testing.T) *world {
	ctx, cancel := context.WithTimeout(t.Context(), slower(60*time.Second)+shortOr(0, 3*time.Minute))
	t.Cleanup(cancel)
	return &world{centre: c, t: t, ctx: ctx}
}

// testCase is one fault.
type testCase struct {
	name string
	run  func(*world)
}

// family runs tests in one data centre, and in another after one that failed.
func family(t *testing.T, s scenario.Settings, change func(*world), cases []testCase) {
	t.Helper()
	var c *centre
	defer func() { c.close() }()
	for _, x := range cases {
		t.Run(x.name, func(t *testing.T) {
			if c == nil {
				c = open(t, s, change)
			}
			w := c.in(t)
			defer func() {
				if t.Failed() {
					w.logs(t)
					c.close()
					c = nil
				}
			}()
			x.run(w)
		})
	}
}

// alone is family for a single test.
func alone(t *testing.T, s scenario.Settings, change func(*world), run func(*world)) {
	t.Helper()
	c := open(t, s, change)
	defer c.close()
	w := c.in(t)
	defer func() {
		if t.Failed() {
			w.logs(t)
		}
	}()
	run(w)
}

// logs shows what the programs said last.
func (w *world) logs(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join(w.dc.Lab.Set.Dir(), "*", "dpmip-*.log"))
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		last := lines[max(0, len(lines)-20):]
		t.Logf("%s:\n  %s", strings.TrimPrefix(f, w.dc.Lab.Set.Dir()), strings.Join(last, "\n  "))
	}
}

// next is where the mover goes from here.
func (w *world) next() string {
	ring := []string{topology.HVA, topology.HVB, topology.HVC}
	for i, h := range ring {
		if h == w.at {
			return ring[(i+1)%len(ring)]
		}
	}
	w.t.Fatalf("the mover is at %q", w.at)
	return ""
}

func (w *world) vm(name string) topology.VM {
	v, ok := w.dc.Lab.Plan.VM(name)
	if !ok {
		w.t.Fatalf("no VM %q", name)
	}
	return v
}

// end is a place for traffic at a node, of the mover on an address that it has
// now.
func (w *world) end(node string, family int, port uint16) traffic.Endpoint {
	e := w.dc.Lab.Endpoint(node, family, port)
	for _, a := range w.slots {
		if node == mover && a.Is4() == (family == 4) {
			e.Addr = netip.AddrPortFrom(a, port)
		}
	}
	return e
}

func (w *world) dir(node string) string { return w.dc.Lab.Node(node).Dir }

// pass lets time go by in which something is dead.
func (w *world) pass(d time.Duration) { clock.SleepUntil(clock.Now() + d) }

// eventually waits until missing says nothing any more.
func (w *world) eventually(what string, missing func() string) {
	w.t.Helper()
	w.within(slower(15*time.Second), what, missing)
}

func (w *world) within(limit time.Duration, what string, missing func() string) {
	w.t.Helper()
	end := clock.Now() + limit
	for {
		m := missing()
		if m == "" {
			return
		}
		if clock.Now() > end {
			w.t.Fatalf("%s: not within %v: %s", what, limit, m)
		}
		w.pass(5 * time.Millisecond)
	}
}

// must ends the test on an error.
func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}
