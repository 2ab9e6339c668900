package switchdev

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/flower"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/tc"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/ways"
)

// TestPortGone: a port takes its filters with it, and comes back with another
// index and none.
func TestPortGone(t *testing.T) {
	t.Parallel()
	run(t, true, func(b *bench) {
		st := stamp(1, 1)
		b.put(delivery(old6, old6, st), hwabstraction.Egress{Stamp: st, Port: "vm0", Source: old6, MAC: vmMAC})
		b.do(b.dev.Activate(st))
		b.rest()
		if len(b.table.find(egressChain, rulePriority)) == 0 || len(b.table.find(entryChain, entryPriority)) != 2 {
			t.Fatalf("the filters to begin with: %v", b.table.all())
		}
		b.table.set(func() {
			delete(b.table.ports, 7)
			for at := range b.table.filters {
				if at.port == 7 {
					delete(b.table.filters, at)
				}
			}
		})
		b.kernel.set(func(k *fakeKernel) { delete(k.ports, "vm0") })
		b.pass(lookEvery)
		if n := len(b.table.all()); n != 0 {
			t.Errorf("%d filters send to a port that is gone, or stand on it", n)
		}
		b.kernel.set(func(k *fakeKernel) { k.ports["vm0"] = ways.Port{Index: 8, MAC: [6]byte{2, 5: 7}, MTU: 1500} })
		b.pass(lookEvery)
		for at := range b.table.all() {
			if at.port == 7 {
				t.Errorf("a filter on the old port: %+v", at)
			}
		}
		if len(b.table.find(egressChain, rulePriority)) == 0 || len(b.table.find(entryChain, entryPriority)) != 2 {
			t.Errorf("the filters after the port came back: %v", b.table.all())
		}
	})
}

// TestTargetGone: the port that a filter redirects to is gone, and the one that it
// is to stand on is not: what stands there already stays, and is known.
func TestTargetGone(t *testing.T) {
	t.Parallel()
	run(t, true, func(b *bench) {
		st, other := stamp(1, 1), stamp(2, 1)
		b.put(delivery(old6, old6, st))
		b.do(b.dev.Activate(st))
		b.rest()
		before := b.table.all()
		b.kernel.set(func(k *fakeKernel) { k.ports["vm1"] = ways.Port{Index: 8, MAC: [6]byte{2, 5: 8}, MTU: 1500} })
		b.table.set(func() {
			b.table.refuse = func(r tc.Request) error {
				if r.Op == tc.Delete || !slices.Contains(r.Filter.Actions, flower.Action(flower.Redirect{Port: 8})) {
					return nil
				}
				b.kernel.set(func(k *fakeKernel) { delete(k.ports, "vm1") })
				return fmt.Errorf("%w: %w", hwabstraction.ErrPortGone, &tc.Error{Errno: unix.ENODEV, Gone: 8})
			}
		})
		b.put(hwabstraction.Deliver{Stamp: other, Address: old4, Restore: old4, Port: "vm1", MAC: vmMAC})
		b.do(b.dev.Activate(other))
		b.pass(2 * lastPoll)
		b.do(b.dev.Activate(st)) // the gate is closed and opened
		b.pass(2 * lastPoll)
		after := b.table.all()
		for at, s := range before {
			if diff := cmp.Diff(s, after[at], byValue); diff != "" {
				t.Errorf("%+v (-before +after):\n%s", at, diff)
			}
		}
		r, err := b.dev.Tiers(t.Context())
		b.do(err)
		if r.Events["port_gone"] == 0 || r.Events["stepped_down"] > 0 {
			t.Errorf("events %v, want that a port is gone, and no step down", r.Events)
		}
	})
}

// TestTwoMinds: the table says that a port is gone, and the kernel has it. The
// device comes to rest, and goes on when they agree.
func TestTwoMinds(t *testing.T) {
	t.Parallel()
	run(t, true, func(b *bench) {
		b.table.set(func() {
			b.table.refuse = refusing(func(f flower.Filter) bool {
				return slices.Contains(f.Actions, flower.Action(flower.Redirect{Port: 7}))
			}, fmt.Errorf("%w: %w", hwabstraction.ErrPortGone, &tc.Error{Errno: unix.ENODEV, Gone: 7}))
		})
		for i, a := range []netip.Addr{old6, old4} {
			st := stamp(byte(1+i), 1)
			b.put(delivery(a, a, st))
			b.do(b.dev.Activate(st))
		}
		b.pass(2 * lastPoll)
		b.table.set(func() { b.table.refuse = nil })
		b.pass(2 * lastPoll)
		if n := len(b.table.find(entryChain, entryPriority)) + len(b.table.find(entryChain, entryPriority+1)); n != 2 {
			t.Errorf("%d entries once the port is there, want 2", n)
		}
	})
}

// TestUplinkVanishesInSwitch: that a port has gone is no reason not to switch.
func TestUplinkVanishesInSwitch(t *testing.T) {
	t.Parallel()
	run(t, true, func(b *bench) {
		here, away := stamp(1, 1), stamp(1, 2)
		b.put(delivery(old6, old6, here), redirection(old6, there6, away, 0))
		b.do(b.dev.Activate(here))
		b.rest()
		b.table.set(func() { clear(b.table.ports); clear(b.table.filters) })
		b.do(b.dev.Arm(away))
		b.expect(b.read(), "slow: arm")
		r, err := b.dev.Tiers(t.Context())
		b.do(err)
		if r.Events["port_gone"] == 0 {
			t.Errorf("nobody has noticed: %+v", r)
		}
		b.table.set(func() { b.table.ports[1], b.table.ports[7] = false, false }) // it is back, as after a change of the e-switch's mode
		b.do(b.dev.Disarm(away))
		b.pass(2 * lastPoll)
		if n := len(b.table.find(entryChain, entryPriority)); n != 1 {
			t.Errorf("%d entries after the uplink came back, want 1", n)
		}
	})
}

// TestQdiscDeleted: with the qdisc of a port somebody deletes all its filters.
func TestQdiscDeleted(t *testing.T) {
	t.Parallel()
	run(t, true, func(b *bench) {
		here, away := stamp(1, 1), stamp(1, 2)
		b.put(delivery(old6, old6, here), redirection(old6, there6, away, 0))
		b.do(b.dev.Activate(here))
		b.rest()
		before := b.table.all()
		detach := func() { b.table.set(func() { b.table.ports[1] = false; clear(b.table.filters) }) }
		detach()
		b.pass(2*DefaultAudit + 2*lastPoll)
		if diff := cmp.Diff(before, b.table.all(), byValue); diff != "" {
			t.Errorf("filters after an audit (-before +after):\n%s", diff)
		}
		detach()
		b.do(b.dev.Arm(away))
		b.pass(2 * lastPoll)
		b.do(b.dev.Disarm(away))
		b.pass(2 * lastPoll)
		if diff := cmp.Diff(before, b.table.all(), byValue); diff != "" {
			t.Errorf("filters after switches (-before +after):\n%s", diff)
		}
	})
}

// TestAudit: what somebody deletes or changes is put back; ours that nobody owns
// goes; others' filters stay.
func TestAudit(t *testing.T) {
	t.Parallel()
	run(t, true, func(b *bench) {
		st := stamp(1, 1)
		b.put(delivery(old6, old6, st), hwabstraction.Egress{Stamp: st, Port: "vm0", Source: old6, MAC: vmMAC})
		b.do(b.dev.Activate(st))
		b.rest()
		before := b.table.all()
		stray := gate(1, 4711, rung{skipHW: true})
		foreign := flower.Status{Kind: "flower", Filter: flower.Filter{Port: 1, Priority: 3, Handle: 5, Actions: []flower.Action{flower.Drop{}}}}
		b.table.change(func(filters map[place]flower.Status) {
			n := 0
			for at, s := range filters {
				switch n++; n {
				case 1, 2, 3:
					delete(filters, at)
				case 4, 5:
					s.Actions = []flower.Action{flower.Drop{}}
					filters[at] = s
				}
			}
			filters[placeOf(stray.Filter)] = flower.Status{Filter: stray.Filter, Kind: "flower"}
			filters[placeOf(foreign.Filter)] = foreign
		})
		b.pass(2 * DefaultAudit)
		after := b.table.all()
		if _, ok := after[placeOf(foreign.Filter)]; !ok {
			t.Error("a foreign filter was removed")
		}
		delete(after, placeOf(foreign.Filter))
		if diff := cmp.Diff(before, after, byValue); diff != "" {
			t.Errorf("filters after the audit (-before +after):\n%s", diff)
		}
		r, err := b.dev.Tiers(t.Context())
		b.do(err)
		if r.Events["healed"] != 5 || r.Events["stray_removed"] != 1 || r.Events["audited"] == 0 {
			t.Errorf("5 were spoilt, 1 was astray: %+v", r.Events)
		}
	})
}

var byValue = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmp.AllowUnexported(place{}),
}

// TestRestartAdopts: a new process finds the filters and touches none.
func TestRestartAdopts(t *testing.T) {
	t.Parallel()
	run(t, true, func(b *bench) {
		here, away, other := stamp(1, 1), stamp(2, 2), stamp(3, 1)
		b.put(holding(delivery(here6, old6, here)), delivery(old6, old6, here), redirection(old4, there4, away, hwabstraction.NewDrop),
			hwabstraction.Egress{Stamp: here, Port: "vm0", Source: old6, MAC: vmMAC}, delivery(ip("10.1.0.9"), ip("10.1.0.9"), other))
		b.do(b.dev.Activate(here))
		b.do(b.dev.Activate(other))
		b.do(b.dev.Arm(away))
		b.pass(2 * DefaultQuiet)
		before := b.table.all()
		b.dev.Halt()
		b.open()
		b.pass(3 * DefaultAudit)
		if diff := cmp.Diff(before, b.table.all(), byValue); diff != "" {
			t.Errorf("filters (-before +after the restart):\n%s", diff)
		}
		r, err := b.dev.Tiers(t.Context())
		b.do(err)
		if int(r.Events["adopted"]) != len(before) || r.Events["healed"]+r.Events["stray_removed"] > 0 {
			t.Errorf("%d filters were there: %+v", len(before), r.Events)
		}
		b.dev.Halt()
		b.dev.Apply(t.Context(), nil)
		for _, res := range b.chaos.Apply(t.Context(), []hwabstraction.Change{hwabstraction.Remove(hwabstraction.DeliverID(ip("10.1.0.9")), other)}) {
			b.do(res.Err)
		}
		b.open() // of a VM that is gone filters are left
		b.pass(2 * DefaultAudit)
		if n := len(b.table.find(entryChain, entryPriority+1)); n != 0 {
			t.Errorf("%d entries of a VM that is gone", n)
		}
	})
}

// TestOldLook: what a look at the kernel has seen is not believed where a rule has
// shown something newer meanwhile.
func TestOldLook(t *testing.T) {
	t.Parallel()
	run(t, true, func(b *bench) {
		st := stamp(1, 1)
		b.put(delivery(old6, old6, st))
		b.do(b.dev.Activate(st))
		b.rest()
		opened := ways.Port{Index: 7, MTU: 1500, MAC: [6]byte{2, 5: 0x99}}
		b.kernel.set(func(k *fakeKernel) {
			k.asked = func() { // the look has read the ports already
				k.mu.Lock()
				k.ports["vm0"] = opened
				k.mu.Unlock()
				b.dev.Apply(t.Context(), []hwabstraction.Change{hwabstraction.Put(hwabstraction.Egress{Stamp: st, Port: "vm0", Source: old6, MAC: vmMAC})})
			}
		})
		b.pass(lookEvery)
		n := 0
		for _, s := range b.table.all() {
			for _, a := range s.Actions {
				if w, ok := a.(flower.Rewrite); ok && w.DestinationMAC == vmMAC {
					if n++; w.SourceMAC != opened.MAC {
						t.Errorf("packets to the VM come from %x, the port has become %x", w.SourceMAC, opened.MAC)
					}
				}
			}
			if s.Chain == entryChain && s.Port == 7 && s.Match.DestinationMAC != opened.MAC {
				t.Errorf("packets of the VM are taken to %x, the port has become %x", s.Match.DestinationMAC, opened.MAC)
			}
		}
		if n != 1 {
			t.Errorf("%d filters to the VM, want 1", n)
		}
	})
}
