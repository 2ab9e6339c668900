package switchdev

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/haltest"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/flower"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/tc"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/ways"
)

// TestCountersCarry: what a filter has counted is not lost with it.
func TestCountersCarry(t *testing.T) {
	t.Parallel()
	run(t, true, func(b *bench) {
		here, away := stamp(1, 1), stamp(1, 2)
		id := hwabstraction.DeliverID(old4)
		b.put(delivery(old4, old4, here), redirection(old4, there4, away, 0))
		b.do(b.dev.Activate(here))
		b.packet(old4) // by the slow path
		b.rest()
		b.counted(3, 300, 2)
		want := hwabstraction.Counter{Packets: 4, Bytes: 28 + 300 + 1*14}
		check := func(when string) {
			t.Helper()
			got, err := b.dev.Counters(t.Context(), []hwabstraction.RuleID{id})
			b.do(err)
			if c := got[id]; c.Packets != want.Packets || c.Bytes != want.Bytes || c.LastUse.IsZero() {
				t.Errorf("%s: %+v, want %+v", when, c, want)
			}
		}
		check("with the filter")
		b.do(b.dev.Arm(away))
		b.rest()
		check("without it")
		r, err := b.dev.Tiers(t.Context())
		b.do(err)
		if diff := cmp.Diff([]hwabstraction.Share{{Owner: here.Owner, Fast: 3, Slow: 1, Hardware: 2}}, r.VMs); diff != "" {
			t.Errorf("shares (-want +got):\n%s", diff)
		}
		b.dev.Apply(t.Context(), []hwabstraction.Change{hwabstraction.Remove(id, here), hwabstraction.Put(delivery(old4, old4, here))})
		got, err := b.dev.Counters(t.Context(), []hwabstraction.RuleID{id})
		b.do(err)
		if c := got[id]; c.Packets != 0 {
			t.Errorf("a rule that was deleted and put again counts %+v", c)
		}
	})
}

// TestTiersWhileFiltersGo: filters that go while ports are dumped are counted
// once.
func TestTiersWhileFiltersGo(t *testing.T) {
	t.Parallel()
	run(t, true, func(b *bench) {
		here, away := stamp(1, 1), stamp(1, 2)
		b.put(delivery(old4, old4, here), redirection(old4, there4, away, 0))
		b.do(b.dev.Activate(here))
		b.rest()
		b.counted(3, 300, 2)
		b.table.set(func() {
			b.table.listing = func() {
				b.do(b.dev.Arm(away))
				b.rest()
			}
		})
		for _, when := range []string{"while they go", "afterwards"} {
			r, err := b.dev.Tiers(t.Context())
			b.do(err)
			if diff := cmp.Diff([]hwabstraction.Share{{Owner: here.Owner, Fast: 3, Hardware: 2}}, r.VMs); diff != "" {
				t.Errorf("shares %s (-want +got):\n%s", when, diff)
			}
		}
	})
}

// TestRefusedChangeCountsOnce: a filter that should have gone, and stays at
// first because that is refused, has counted once.
func TestRefusedChangeCountsOnce(t *testing.T) {
	t.Parallel()
	run(t, true, func(b *bench) {
		here, away := stamp(1, 1), stamp(1, 2)
		b.put(delivery(old4, old4, here), redirection(old4, there4, away, hwabstraction.NewDrop))
		b.do(b.dev.Activate(here))
		b.rest()
		b.counted(3, 300, 2)
		refused := false
		b.table.set(func() {
			b.table.refuse = func(r tc.Request) error {
				if refused || r.Op != tc.Delete || r.Filter.Priority != rulePriority+1 {
					return nil
				}
				refused = true
				return unix.EBUSY
			}
		})
		b.do(b.dev.Arm(away))
		b.packet(old4)
		b.pass(2 * lastPoll)
		if !refused {
			t.Error("nothing was refused")
		}
		r, err := b.dev.Tiers(t.Context())
		b.do(err)
		if n := r.VMs[0].Fast; n != 3 {
			t.Errorf("%d packets were fast, want 3", n)
		}
	})
}

// TestClaimedIsLeftOut: VM ports leave what a rule claims to the slow path before
// the slow path has the rule.
func TestClaimedIsLeftOut(t *testing.T) {
	t.Parallel()
	run(t, true, func(b *bench) {
		st := stamp(1, 1)
		b.put(hwabstraction.Egress{Stamp: st, Port: "vm0", Source: old4, MAC: vmMAC})
		b.rest()
		before := len(b.table.find(egressChain, missPriority+1))
		rules := []hwabstraction.Change{
			hwabstraction.Put(redirection(ip("10.9.0.1"), there4, stamp(2, 1), 0)),
			hwabstraction.Put(hwabstraction.Unreachable{Stamp: stamp(3, 1), Prefix: netip.MustParsePrefix("10.8.0.0/16")}),
			hwabstraction.Put(redirection(ip("10.8.0.1"), there4, stamp(2, 1), 0)),
		}
		b.dev.Apply(t.Context(), rules)
		b.expect(b.read(), `miss put
			slow: apply`)
		b.rest()
		if n := len(b.table.find(egressChain, missPriority+1)); n != before+2 {
			t.Errorf("%d destinations are left out, %d before", n, before)
		}
		b.table.set(func() {
			b.table.refuse = refusing(func(f flower.Filter) bool { return f.Priority == missPriority+1 }, hwabstraction.ErrTableFull)
		})
		b.dev.Apply(t.Context(), []hwabstraction.Change{hwabstraction.Put(redirection(ip("10.7.0.1"), there4, stamp(2, 1), 0))})
		b.expect(b.read(), `gate closed
			slow: apply`)
	})
}

// TestNewHop: a next hop with another MAC, or none, is followed.
func TestNewHop(t *testing.T) {
	t.Parallel()
	run(t, true, func(b *bench) {
		st := stamp(1, 2)
		b.put(redirection(old4, there4, st, 0))
		b.do(b.dev.Arm(st))
		b.packet(old4)
		b.pass(2 * lastPoll)
		moved := [6]byte{2, 5: 0xaa}
		b.kernel.set(func(k *fakeKernel) {
			h := k.hops[there4]
			h.Destination = moved
			k.hops[there4] = h
		})
		b.pass(lookEvery)
		n := 0
		for _, s := range b.table.all() {
			for _, a := range s.Actions {
				if w, ok := a.(flower.Rewrite); ok {
					if n++; w.DestinationMAC != moved {
						t.Errorf("a filter sends to %x", w.DestinationMAC)
					}
				}
			}
		}
		if n == 0 {
			t.Error("no filter sends anywhere")
		}
		b.kernel.set(func(k *fakeKernel) { delete(k.hops, there4) })
		b.pass(lookEvery)
		if n := len(b.table.all()); n != 0 {
			t.Errorf("%d filters without a next hop", n)
		}
	})
}

// TestContract: the slow path's answers come through, whatever the fast path does.
func TestContract(t *testing.T) {
	t.Parallel()
	haltest.Run(t, func(t *testing.T) haltest.Rig {
		s := around()
		table := newTable(&diary{}, 1, 7, 8)
		kernel := &fakeKernel{
			ports: map[string]ways.Port{"fab0": s.uplinks[0], "vm0": s.ports["vm0"], "vm1": {Index: 8, MTU: 1500}},
			hops:  s.hops, exits: s.exits, changed: make(chan struct{}),
		}
		var dev *Device
		over := func(t testing.TB, slow hwabstraction.Device) hwabstraction.Device {
			t.Helper()
			if dev != nil {
				dev.Halt()
			}
			d, err := Open(slow, Config{Fabric: []string{"fab0"}, Table: table, Kernel: kernel, SkipHW: true})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { d.Close() })
			dev = d
			return d
		}
		rig := haltest.NewChaosRig(haltest.Plan{})
		again := rig.Reopen
		rig.Device = over(t, rig.Device)
		rig.Reopen = func(t testing.TB) hwabstraction.Device { return over(t, again(t)) }
		return rig
	})
}

// TestMended: what both parts have mended is told.
func TestMended(t *testing.T) {
	t.Parallel()
	d := &Device{slow: mending{n: map[string]uint64{"program": 1}}, cfg: Config{Table: mendingTable{n: map[string]uint64{"batch_too_large": 2}}}}
	if diff := cmp.Diff(map[string]uint64{"program": 1, "batch_too_large": 2}, d.Mended()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := (&Device{}).Mended(); len(got) != 0 {
		t.Errorf("parts that do not mend have mended %v", got)
	}
}

type mending struct {
	hwabstraction.Device
	n map[string]uint64
}

func (m mending) Mended() map[string]uint64 { return m.n }

type mendingTable struct {
	Table
	n map[string]uint64
}

func (m mendingTable) Mended() map[string]uint64 { return m.n }
