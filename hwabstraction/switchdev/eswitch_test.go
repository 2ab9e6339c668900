package switchdev

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/flower"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/tc"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/ways"
)

// TestEswitchLost: when the e-switch leaves switchdev mode its representors go,
// all goes by the slow path, no rule and no count is lost, and the fast path
// comes back with the mode.
func TestEswitchLost(t *testing.T) {
	t.Parallel()
	run(t, false, func(b *bench) {
		st, later := stamp(1, 1), stamp(2, 1)
		id := hwabstraction.DeliverID(old4)
		b.table.set(func() { b.table.offload = func(flower.Filter) bool { return true } })
		b.put(delivery(old4, old4, st), hwabstraction.Egress{Stamp: st, Port: "vm0", Source: old4, MAC: vmMAC})
		b.do(b.dev.Activate(st))
		b.rest()
		b.table.change(func(filters map[place]flower.Status) {
			for at, s := range filters {
				if at.port == 1 && at.priority == rulePriority+1 {
					s.Packets, s.Bytes, s.HWPackets, s.HWTold = 3, 300, 3, true
					filters[at] = s
				}
			}
		})
		b.fast(id, "hardware, conntrack", hwabstraction.PlacementHardwareConntrack, 0)

		b.vanish(7)
		b.kernel.set(func(k *fakeKernel) { k.lost = "03:00.0 is in legacy mode"; delete(k.ports, "vm0") })
		b.pass(lookEvery)
		b.fast(id, "slow path", hwabstraction.PlacementEBPF, 1)
		if n := len(b.table.all()); n != 0 {
			t.Errorf("%d filters are left", n)
		}
		got, err := b.dev.Counters(t.Context(), []hwabstraction.RuleID{id})
		b.do(err)
		if c := got[id]; c.Packets != 3 || c.Bytes != 300 {
			t.Errorf("the rule counts %+v without its filter, want 3 packets of 300 bytes", c)
		}
		b.put(delivery(old6, old6, later))
		b.do(b.dev.Activate(later))
		b.kernel.set(func(k *fakeKernel) { k.lost, k.untold = "", errors.New("devlink is busy") })
		b.pass(3 * DefaultClimb)
		b.fast(hwabstraction.DeliverID(old6), "slow path", hwabstraction.PlacementEBPF, 1)
		if n := len(b.table.all()); n != 0 {
			t.Errorf("%d filters were tried while the mode was another one", n)
		}

		b.table.set(func() { b.table.ports[8] = false })
		b.kernel.set(func(k *fakeKernel) { k.untold, k.ports["vm0"] = nil, ways.Port{Index: 8, MAC: vmMAC, MTU: 1500} })
		b.pass(lookEvery)
		for _, a := range []hwabstraction.RuleID{id, hwabstraction.DeliverID(old6)} {
			b.fast(a, "hardware, conntrack", hwabstraction.PlacementHardwareConntrack, 1)
		}
		b.kernel.set(func(k *fakeKernel) { k.lost = "03:00.0 is in legacy mode" })
		b.pass(lookEvery)
		b.fast(id, "slow path", hwabstraction.PlacementEBPF, 2)
		b.kernel.set(func(k *fakeKernel) { k.lost = "" })
		b.pass(lookEvery) // no longer than it takes to see it
		b.fast(id, "hardware, conntrack", hwabstraction.PlacementHardwareConntrack, 2)
		for _, want := range []string{`level=WARN msg="the e-switch has left switchdev mode`, `err="03:00.0 is in legacy mode"`, "in switchdev mode again"} {
			if n := strings.Count(b.log.String(), want); n != 2 {
				t.Errorf("the log says %d times %q, want 2:\n%s", n, want, &b.log)
			}
		}
	})
}

// TestEswitchStuckFilter: a filter that cannot be removed then is tried again.
func TestEswitchStuckFilter(t *testing.T) {
	t.Parallel()
	run(t, false, func(b *bench) {
		st := stamp(1, 1)
		b.table.set(func() { b.table.offload = func(flower.Filter) bool { return true } })
		b.put(delivery(old6, old6, st))
		b.do(b.dev.Activate(st))
		b.rest()
		b.table.set(func() { b.table.refuse = func(tc.Request) error { return unix.EBUSY } })
		b.kernel.set(func(k *fakeKernel) { k.lost = "03:00.0 is in legacy mode" })
		b.pass(lookEvery)
		if len(b.table.all()) == 0 {
			t.Fatal("filters went that could not be removed")
		}
		b.table.set(func() { b.table.refuse = nil })
		b.pass(DefaultClimb)
		if n := len(b.table.all()); n != 0 {
			t.Errorf("%d filters are left", n)
		}
	})
}

// TestEswitchBusy: while the kernel changes the mode it answers nobody who asks for
// it; switches do not wait for that, also when a port has gone.
func TestEswitchBusy(t *testing.T) {
	t.Parallel()
	run(t, false, func(b *bench) {
		here, away := stamp(1, 1), stamp(1, 2)
		b.put(delivery(old6, old6, here), redirection(old6, there6, away, 0))
		b.do(b.dev.Activate(here))
		b.rest()
		done := make(chan struct{})
		b.kernel.set(func(k *fakeKernel) { k.busy = done })
		b.pass(lookEvery)
		b.vanish(1)
		b.do(b.dev.Arm(away)) // finds that the port is gone
		close(done)
		b.rest()
		if g, err := b.dev.Group(away); err != nil || !g.Armed {
			t.Errorf("%+v, %v: want it armed", g, err)
		}
		r, err := b.dev.Tiers(t.Context())
		b.do(err)
		if r.Events["port_gone"] == 0 {
			t.Error("the port that vanished was not noticed")
		}
	})
}

// fast checks how a rule fares, and how often the e-switch was lost.
func (b *bench) fast(id hwabstraction.RuleID, rung string, at hwabstraction.Placement, lost uint64) {
	b.Helper()
	r, err := b.dev.Tiers(b.Context())
	b.do(err)
	if len(r.Rungs) != 1 || r.Rungs[rung] == 0 || r.Events["eswitch_lost"] != lost {
		b.Errorf("rungs %v, the e-switch was lost %d times: want all on %q, %d", r.Rungs, r.Events["eswitch_lost"], rung, lost)
	}
	if got := b.placement(id); got != at {
		b.Errorf("%v is placed in %s, want %s", id, got, at)
	}
}

// vanish takes a port away, with its filters.
func (b *bench) vanish(port int32) {
	b.table.set(func() {
		delete(b.table.ports, port)
		for at := range b.table.filters {
			if at.port == port {
				delete(b.table.filters, at)
			}
		}
	})
}

// TestPlacementByCounters: a rule is placed in hardware where hardware says that
// it has the filter and, once packets came, has counted some.
func TestPlacementByCounters(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		says func(*flower.Status)
		want hwabstraction.Placement
	}{
		"no packet yet":         {func(s *flower.Status) { s.HWTold = true }, hwabstraction.PlacementHardwareConntrack},
		"hardware counts":       {func(s *flower.Status) { s.HWTold, s.Packets, s.HWPackets = true, 5, 4 }, hwabstraction.PlacementHardwareConntrack},
		"software counts alone": {func(s *flower.Status) { s.HWTold, s.Packets = true, 5 }, hwabstraction.PlacementEBPF},
		"not told who counts":   {func(s *flower.Status) { s.Packets = 5 }, hwabstraction.PlacementHardwareConntrack},
		"no device has it":      {func(s *flower.Status) { s.CountTold = true }, hwabstraction.PlacementEBPF},
		"one device has it":     {func(s *flower.Status) { s.CountTold, s.InHWCount = true, 1 }, hwabstraction.PlacementHardwareConntrack},
		"the flag has gone":     {func(s *flower.Status) { s.InHW = false }, hwabstraction.PlacementEBPF},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, false, func(b *bench) {
				st := stamp(1, 1)
				b.table.set(func() { b.table.offload = func(flower.Filter) bool { return true } })
				b.put(delivery(old6, old6, st))
				b.do(b.dev.Activate(st))
				b.rest()
				b.table.change(func(filters map[place]flower.Status) {
					for at, s := range filters {
						c.says(&s)
						filters[at] = s
					}
				})
				if got := b.placement(hwabstraction.DeliverID(old6)); got != c.want {
					t.Errorf("placed in %s, want %s", got, c.want)
				}
				r, err := b.dev.Tiers(t.Context())
				b.do(err)
				where := "hardware"
				if c.want == hwabstraction.PlacementEBPF {
					where = "kernel"
				}
				if len(r.Filters) != 1 || r.Filters[where] == 0 {
					t.Errorf("filters %v, want all in %s", r.Filters, where)
				}
			})
		})
	}
}

// TestNoDevice: a filter with the flag that no device has is not what a rung of
// hardware asks for.
func TestNoDevice(t *testing.T) {
	t.Parallel()
	run(t, false, func(b *bench) {
		st := stamp(1, 1)
		b.table.set(func() {
			b.table.offload = func(flower.Filter) bool { return true }
			b.table.watch = func(filters map[place]flower.Status) {
				for at, s := range filters {
					s.CountTold = true
					filters[at] = s
				}
			}
		})
		b.put(delivery(old6, old6, st))
		b.do(b.dev.Activate(st))
		b.rest()
		b.fast(hwabstraction.DeliverID(old6), "kernel, conntrack", hwabstraction.PlacementEBPF, 0)
	})
}
