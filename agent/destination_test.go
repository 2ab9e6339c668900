package agent

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/haltest"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
)

func activateVM(id CommandID) Event { return Activate{ID: id, VM: vm1, Wait: time.Second} }

// prepared makes A the destination of a move of vm1 and returns the deliveries.
func (w *world) prepared(e mobility.Epoch, o mobility.MoveOptions, olds ...netip.Addr) map[netip.Addr]netip.Addr {
	w.t.Helper()
	r := w.accepted("prepare", prepareDestination(e, o, olds...))
	out := make(map[netip.Addr]netip.Addr)
	for _, d := range r.Deliveries {
		out[d.Old] = d.D
	}
	for _, old := range olds {
		if !out[old].IsValid() {
			w.t.Fatalf("no delivery address for %s: %v", old, r.Deliveries)
		}
	}
	return out
}

func TestDestinationOfAMove(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b4 := addr("10.0.2.7")
	d := w.prepared(5, hotKeep, away6, b4)
	if mobility.OnesSum(d[away6]) != mobility.OnesSum(away6) || !w.cfg.Pools[0].Contains(d[away6]) || !w.cfg.Pools[1].Contains(d[b4]) {
		t.Errorf("deliveries: %v", d)
	}
	if diff := cmp.Diff(d, w.prepared(5, hotKeep, away6, b4), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("a repeated PREPARE got other deliveries (-first +second):\n%s", diff)
	}
	w.goes(d[away6], haltest.ActHold, netip.Addr{})
	w.goes(away6, haltest.ActRoute, away6) // until B activates, it goes where it went
	w.holds(hwabstraction.DeliverID(d[away6]), hwabstraction.DeliverID(d[b4]), hwabstraction.DeliverID(away6), hwabstraction.DeliverID(b4),
		hwabstraction.EgressID("p-vm1", away6), hwabstraction.EgressID("p-vm1", b4))

	w.trace = nil
	if a := w.command(activateVM); a != nil {
		t.Fatalf("answered before the COMMIT was: %+v", a)
	}
	persisted := slices.IndexFunc(w.trace, func(e Effect) bool { p, ok := e.(Persist); return ok && p.Record.Serving.Commit != nil })
	switched := slices.IndexFunc(w.trace, func(e Effect) bool { s, ok := e.(Switch); return ok && s.Op == OpActivate })
	if persisted < 0 || switched < persisted {
		t.Errorf("persisted at %d, activated at %d", persisted, switched)
	}
	w.goes(d[away6], haltest.ActDeliver, away6)
	w.goes(away6, haltest.ActDeliver, away6)
	if len(w.announce) != 1 || w.announce[0].Port != "p-vm1" {
		t.Errorf("announced %+v", w.announce)
	}

	commit := w.next("commit")
	r := commit.Request
	if r.Handoff != mobility.HandoffMove || r.Epoch != 5 || r.Ticket != (mobility.Ticket{1}) || r.Move != hotKeep.WithPhase(mobility.PhaseCommit) ||
		r.CareOf != locA || r.Locator4 != locA4 || r.MAC != mac1 || len(r.Slots) != 2 || len(r.Deliveries) != 2 {
		t.Errorf("commit: %+v", r)
	}
	w.refused("abort 1", mobility.StatusProhibited, freezing(5))
	w.refused("abort 3", mobility.StatusProhibited, ending(5, mobility.PhaseAbort))
	w.reply(commit, registration.Reply{Epoch: 5})
	if a := w.answers[w.id]; a.Err != nil || !a.Committed || a.Epoch != 5 || len(a.Addresses) != 2 || len(a.Olds) != 0 {
		t.Errorf("activate: %+v", a)
	}
	if a := w.command(activateVM); a == nil || a.Err != nil || !a.Committed {
		t.Errorf("activate, repeated: %+v", a)
	}
	w.pass(45 * time.Minute)
	if r := w.next("refresh").Request; r.Handoff != mobility.HandoffUnchanged || r.Epoch != 5 {
		t.Errorf("refresh: %+v", r)
	}
	if len(w.reports) == 0 || w.reports[0].Role != "destination" || w.reports[0].Epoch != 5 {
		t.Errorf("reports: %+v", w.reports)
	}
}

func freezing(e mobility.Epoch) registration.Request {
	r := ending(e, mobility.PhaseAbort)
	r.Lifetime = 15
	return r
}

// TestGuardedOldAddress: where new connections to an old address are not
// redirected, it reaches the VM by its delivery address only, so that the
// source judges them; unless it is at home here.
func TestGuardedOldAddress(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	home := w.cfg.Ranges[0].Addr().Next()
	d := w.accepted("prepare", prepareDestination(5, renumber(mobility.PolicyReject), away6, home)).Deliveries
	a := w.command(func(id CommandID) Event { return Activate{ID: id, VM: vm1} })
	if a == nil || a.Err != nil {
		t.Fatalf("activate: %+v", a)
	}
	w.reply(w.next("commit"), registration.Reply{Epoch: 5})
	w.goes(away6, haltest.ActRoute, away6)
	w.goes(home, haltest.ActDeliver, home)
	w.goes(d[0].D, haltest.ActDeliver, away6)
	if r := mustRecord(t, &w.core.vms[vm1].Record); !r.Serving.Guarded {
		t.Error("the entry in NIC memory does not keep it")
	}
}

func mustRecord(t *testing.T, r *Record) Record {
	t.Helper()
	e, err := r.ToEntry()
	if err != nil {
		t.Fatal(err)
	}
	got, err := FromEntry(&e)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestRenumberingMove(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	older := addr("2001:db8:c::7") // of an earlier stay: not current
	req := prepareDestination(5, renumber(mobility.PolicyRedirect), away6, older)
	req.Current = &mobility.SlotCount{V6: 1}
	d := w.accepted("prepare", req).Deliveries
	if len(d) != 2 {
		t.Fatalf("deliveries: %v", d)
	}
	a := w.command(func(id CommandID) Event { return Activate{ID: id, VM: vm1} })
	if a == nil || a.Err != nil || a.Committed || len(a.Addresses) != 1 || !w.cfg.Ranges[0].Contains(a.Addresses[0]) {
		t.Fatalf("activate: %+v", a)
	}
	if diff := cmp.Diff([]string{away6.String(), older.String()}, []string{a.Olds[0].String(), a.Olds[1].String()}); diff != "" {
		t.Errorf("old addresses (-want +got):\n%s", diff)
	}
	slot := a.Addresses[0]
	commit := w.next("commit")
	if diff := cmp.Diff([]string{slot.String()}, []string{commit.Request.Slots[0].String()}); diff != "" {
		t.Errorf("slots of the COMMIT (-want +got):\n%s", diff)
	}
	w.reply(commit, registration.Reply{Epoch: 5})
	for _, x := range []netip.Addr{slot, away6, older} {
		w.goes(x, haltest.ActDeliver, x)
	}

	w.refused("drained, of an older epoch", mobility.StatusProhibited, ending(4, mobility.PhaseCommit, away6))
	w.accepted("drained", ending(5, mobility.PhaseCommit, away6))
	w.goes(away6, haltest.ActRoute, away6)
	w.holds(hwabstraction.DeliverID(slot), hwabstraction.EgressID("p-vm1", slot),
		hwabstraction.DeliverID(older), hwabstraction.EgressID("p-vm1", older), hwabstraction.DeliverID(d[1].D))
	w.accepted("drained, repeated", ending(5, mobility.PhaseCommit, away6))
	if owner, used := w.core.addrs.owner(d[0].D); !used || owner != vm1 {
		t.Error("the delivery address is free before its quarantine ended")
	}
	w.pass(2 * time.Minute)
	if _, used := w.core.addrs.owner(d[0].D); used {
		t.Error("the delivery address is not free after its quarantine")
	}
}

// An old address that has drained while this hypervisor could not be told is not
// among the pairs of the next move's redirect; a slot must be.
func TestRedirectWithoutADrainedAddress(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.accepted("prepare", prepareDestination(5, renumber(mobility.PolicyRedirect), away6))
	slot := w.command(func(id CommandID) Event { return Activate{ID: id, VM: vm1} }).Addresses[0]
	w.reply(w.next("commit"), registration.Reply{Epoch: 5})
	at := addr("2001:db8:c:d::77")
	w.refused("redirect of the old address alone", mobility.StatusPairMismatch, redirectTo(6, locC, hotKeep, mobility.Pair{Old: away6, New: d4as6}))
	w.goes(slot, haltest.ActDeliver, slot)
	w.accepted("redirect of the slot alone", redirectTo(6, locC, hotKeep, mobility.Pair{Old: slot, New: at}))
	w.goes(slot, haltest.ActRedirect, at)
	w.goes(away6, haltest.ActRoute, away6)
	w.holds(hwabstraction.RedirectID(slot))
}

// A current slot outlives its drain: only its delivery address ends.
func TestDrainedKeepsCurrentSlots(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	d := w.prepared(5, hotKeep, away6)
	w.command(activateVM)
	w.reply(w.next("commit"), registration.Reply{Epoch: 5})
	w.accepted("drained", ending(5, mobility.PhaseCommit, away6))
	w.goes(away6, haltest.ActDeliver, away6)
	w.goes(d[away6], haltest.ActDrop, d[away6])
}

func TestAbortAtTheDestination(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	d := w.prepared(5, renumber(mobility.PolicyRedirect), away6)
	w.accepted("abort 1", freezing(5))
	w.goes(d[away6], haltest.ActHold, netip.Addr{})
	if a := w.command(activateVM); a == nil || commandCode(a.Err) != CommandNotReady {
		t.Errorf("activate after abort 1: %+v", a)
	}
	w.refused("prepare of the aborted epoch", mobility.StatusProhibited, prepareDestination(5, renumber(mobility.PolicyRedirect), away6))
	w.accepted("abort 1, repeated", freezing(5))
	w.accepted("abort 3", ending(5, mobility.PhaseAbort))
	w.goes(d[away6], haltest.ActRoute, away6) // stragglers are given back
	w.holds(hwabstraction.DeliverID(d[away6]))
	w.accepted("abort 3, repeated", ending(5, mobility.PhaseAbort))
	w.pass(2 * time.Minute)
	w.holds()
	if len(w.kept) != 0 || len(w.core.addrs.taken) != 0 {
		t.Errorf("left: records %v, addresses %v", w.kept, w.core.addrs.taken)
	}
	w.accepted("abort of an unknown VM", ending(5, mobility.PhaseAbort))
	w.accepted("abort 1 of an unknown VM", freezing(5))
}

// The way home: A is anchor and destination at once.
func TestHome(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.attached(old6)
	w.accepted("prepare at the source", prepareSource(2, hotKeep, pair6))
	w.command(release)
	w.accepted("redirect", redirectTo(2, locB, hotKeep, pair6))

	d := w.prepared(3, hotKeep, old6)
	w.goes(old6, haltest.ActRedirect, d6)
	w.goes(d[old6], haltest.ActHold, netip.Addr{})
	w.command(activateVM)
	w.goes(old6, haltest.ActDeliver, old6)
	w.goes(d[old6], haltest.ActDeliver, old6)
	w.reply(w.next("commit"), registration.Reply{Epoch: 3})
	w.holds(hwabstraction.DeliverID(old6), hwabstraction.EgressID("p-vm1", old6), hwabstraction.DeliverID(d[old6]))

	// And away once more: the delivery address of the last stay restores, and
	// the packet is redirected.
	dc := addr("2001:db8:c:d::9")
	w.accepted("prepare at the source", prepareSource(4, hotKeep, mobility.Pair{Old: old6, New: dc}))
	w.command(release)
	r := redirectTo(4, locC, hotKeep, mobility.Pair{Old: old6, New: dc})
	w.accepted("redirect", r)
	w.goes(d[old6], haltest.ActRedirect, dc)
	w.holds(hwabstraction.RedirectID(old6), hwabstraction.DeliverID(d[old6]))
}

// A move home that was given up leaves the anchor as it was: the epoch that it
// has heard of is no reason to refuse the binding's.
func TestAnchorOutlivesAnAbortedReturn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.attached(old6)
	w.accepted("prepare at the source", prepareSource(2, hotKeep, pair6))
	w.command(release)
	w.accepted("redirect", redirectTo(2, locB, hotKeep, pair6))
	w.prepared(3, hotKeep, old6)
	keep := redirectTo(2, locB, hotKeep, pair6)
	keep.Handoff = mobility.HandoffUnchanged
	w.accepted("keep alive during the move", keep)
	w.accepted("abort 1", freezing(3))
	w.accepted("abort 3", ending(3, mobility.PhaseAbort))
	w.accepted("keep alive after the abort", keep)
	w.goes(old6, haltest.ActRedirect, d6)
	if r := w.refused("a move with the aborted epoch's predecessor", mobility.StatusProhibited, prepareDestination(2, hotKeep, old6)); r.Epoch != 3 {
		t.Errorf("the refusal carries epoch %d, want 3", r.Epoch)
	}
}

// An old address whose home serves the VM again drains by its deliveries.
// TestOldAddressesDrainByDeliveries: the serving hypervisor asks about every
// old address that it delivers; where new connections are not redirected that
// is only one that is at home here.
func TestOldAddressesDrainByDeliveries(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		policy mobility.NewConnections
		want   []netip.Addr
	}{
		{mobility.PolicyRedirect, []netip.Addr{old6, away6}},
		{mobility.PolicyDrop, []netip.Addr{old6}},
	} {
		t.Run(tc.policy.String(), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			req := prepareDestination(3, renumber(tc.policy), away6, old6)
			req.Current = &mobility.SlotCount{V6: 1}
			w.accepted("prepare", req)
			w.command(activateVM)
			w.reply(w.next("commit"), registration.Reply{Epoch: 3})
			w.pass(50 * time.Second)
			ask := w.next("may I")
			if r := ask.Request; r.Lifetime != 0 || r.Epoch != 3 || !slices.Equal(r.Slots, tc.want) {
				t.Errorf("may I: %+v", r)
			}
			w.reply(ask, registration.Reply{})
			w.goes(old6, haltest.ActDeliver, old6) // until M says so
			w.accepted("drained", ending(3, mobility.PhaseCommit, tc.want...))
			w.goes(old6, haltest.ActDrop, old6)
		})
	}
}

func TestPlainMove(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config, _ *haltest.Plan) {
		c.Static = map[mobility.VMID]Static{vm1: {Port: "vp7", MAC: mac1, Addresses: []netip.Addr{away6}}}
	})
	w.command(activateVM)
	ask := w.next("move")
	if r := ask.Request; r.Handoff != mobility.HandoffMove || r.CareOf != locA || r.HasMove() {
		t.Errorf("plain move: %+v", r)
	}
	w.reply(ask, registration.Reply{Epoch: 4})
	if a := w.answers[w.id]; a.Err != nil || !a.Committed || a.VM.Port != "vp7" {
		t.Errorf("activate: %+v", a)
	}
	w.goes(away6, haltest.ActDeliver, away6)
}

func TestPortNamedAtActivation(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.prepared(5, hotKeep, away6)
	w.command(func(id CommandID) Event { return Activate{ID: id, VM: vm1, Port: "tap9"} })
	if a := w.answers[w.id]; a.Err != nil {
		t.Fatal(a.Err)
	}
	if d := w.dev.Decide(away6); d.Act != haltest.ActDeliver || d.Rule.(hwabstraction.Deliver).Port != "tap9" {
		t.Errorf("decision: %+v", d)
	}
}

func TestDeliveryAddressesAreUnique(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config, _ *haltest.Plan) {
		c.Pools = []netip.Prefix{prefix("2001:db8:a:d::/96"), prefix("10.1.0.0/16")}
	})
	seen := make(map[netip.Addr]bool)
	vms := []string{"a", "b", "c", "d", "e", "f", "g", "h"}
	for round := range mobility.Epoch(20) {
		for i, name := range vms {
			r := prepareDestination(round+1, hotKeep, netip.AddrFrom16([16]byte{0x20, 1, 14: 1, 15: byte(i)}), netip.AddrFrom4([4]byte{10, 9, 0, byte(i + 1)}))
			r.VM = mobility.NAI(name + "@lab")
			for _, d := range w.accepted("prepare", r).Deliveries {
				if seen[d.D] {
					t.Fatalf("round %d: %s is given twice", round, d.D)
				}
				seen[d.D] = true
			}
		}
	}
}
