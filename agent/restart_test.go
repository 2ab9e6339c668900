package agent

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/haltest"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
)

// stage is one stage of a VM's life at A, as M and the orchestrator drive it. It
// reports whether it was carried through; if not, the process has died, and the
// stage is repeated with its successor.
type stage struct {
	name string
	do   func(w *world) bool
}

func asked(name string, make func(w *world) registration.Request) stage {
	return stage{name, func(w *world) bool {
		r, ok := w.ask(make(w))
		if ok && !r.Status.Accepted() {
			w.t.Fatalf("%s: %v", name, r.Status)
		}
		return ok
	}}
}

func fixed(r registration.Request) func(*world) registration.Request {
	return func(*world) registration.Request { return r }
}

func commanded(name string, make func(CommandID) Event) stage {
	return stage{name, func(w *world) bool {
		a := w.command(make)
		if a != nil && a.Err != nil {
			w.t.Fatalf("%s: %v", name, a.Err)
		}
		return a != nil
	}}
}

// settled lets M answer whatever A sends until A owes nothing.
func settled(name string, e mobility.Epoch) stage {
	return stage{name, func(w *world) bool {
		for range 5 {
			w.pass(5 * time.Second)
			for len(w.asks) > 0 {
				w.reply(w.next(name), registration.Reply{Epoch: e})
			}
		}
		v := w.core.vms[vm1]
		return !w.dead && v != nil && v.Serving != nil && v.Serving.Registered && v.Serving.Commit == nil
	}}
}

// life is: attach, move away, come home, and move away for good.
func life() []stage {
	dc := addr("2001:db8:c:d::9")
	toC := mobility.Pair{Old: old6, New: dc}
	return []stage{
		commanded("attach", func(id CommandID) Event {
			return Attach{ID: id, VM: vm1, MAC: mac1, Addresses: []netip.Addr{old6}}
		}),
		settled("register", 1),
		asked("prepare to B", fixed(prepareSource(2, hotKeep, pair6))),
		commanded("release", release),
		asked("redirect to B", fixed(redirectTo(2, locB, hotKeep, pair6))),
		asked("prepare home", fixed(prepareDestination(3, hotKeep, old6))),
		commanded("activate", func(id CommandID) Event { return Activate{ID: id, VM: vm1} }),
		settled("commit", 3),
		asked("prepare to C", fixed(prepareSource(4, hotKeep, toC))),
		asked("abort", fixed(ending(4, mobility.PhaseAbort))),
		asked("prepare to C again", fixed(prepareSource(5, hotKeep, toC))),
		commanded("release again", release),
		asked("redirect to C", fixed(redirectTo(5, locC, hotKeep, toC))),
	}
}

// TestKilledAtEveryStep kills the process before each effect of a VM's life in
// turn. The successor forwards as the dead process did, and the life goes on
// to the same end.
func TestKilledAtEveryStep(t *testing.T) {
	t.Parallel()
	for n := 0; ; n++ {
		if survived := killedAt(t, n); survived {
			if n < 50 {
				t.Errorf("the whole life has %d effects: the test does not reach it", n)
			}
			return
		}
	}
}

func killedAt(t *testing.T, n int) (survived bool) {
	w := newWorld(t, nil)
	left := n
	w.crash = func(Effect) bool { left--; return left < 0 }
	survived = true
	for _, s := range life() {
		for try := 0; !s.do(w); try++ {
			if try == 3 {
				t.Fatalf("killed before effect %d: %s is not carried through", n, s.name)
			}
			if !w.dead {
				continue
			}
			survived = false
			before := w.dev.Decide(old6)
			w.restart()
			after := w.dev.Decide(old6)
			if before.Act != after.Act && after.Act != haltest.ActDeliver && after.Act != haltest.ActRedirect {
				t.Fatalf("killed before effect %d in %s: %s went %v, with the successor %v", n, s.name, old6, before.Act, after.Act)
			}
		}
	}
	dc := addr("2001:db8:c:d::9")
	if d := w.dev.Decide(old6); d.Act != haltest.ActRedirect || d.To != dc {
		t.Fatalf("killed before effect %d: in the end %s goes %v to %s", n, old6, d.Act, d.To)
	}
	r := w.kept[vm1]
	if r.Serving != nil || r.Incoming != nil || r.Leaving == nil || !r.Leaving.Done || r.Epoch != 5 {
		t.Fatalf("killed before effect %d: in the end the record is %+v", n, r)
	}
	var restores []hwabstraction.RuleID
	for _, s := range r.Spent {
		if s.State == SpentRestoring {
			restores = append(restores, hwabstraction.DeliverID(s.D))
			w.goes(s.D, haltest.ActRedirect, dc)
		}
	}
	w.holds(append(restores, hwabstraction.RedirectID(old6))...)
	return survived
}

func TestSuccessorOwnsTheSameRules(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.attached(old6)
	w.accepted("prepare", prepareSource(2, hotKeep, pair6))
	w.command(release)
	before := w.rules()
	w.dev.Applied()
	w.restart()
	w.holds(before...)
	if log := w.dev.Applied(); len(log) != 0 {
		t.Errorf("the successor changed %v", log)
	}
	w.goes(old6, haltest.ActRedirect, d6)
	w.accepted("the move completes", redirectTo(2, locB, hotKeep, pair6))
}

// A process that dies between the switch and its note leaves an armed redirect
// behind a record that does not say so.
func TestArmedStaysArmed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.attached(old6)
	w.accepted("prepare", prepareSource(2, hotKeep, pair6))
	w.crash = func(e Effect) bool { _, ok := e.(Answer); return ok }
	w.command(release)
	if w.kept[vm1].Leaving.Armed {
		t.Fatal("the record says armed: nothing is tested")
	}
	w.restart()
	w.goes(old6, haltest.ActRedirect, d6)
	if !w.kept[vm1].Leaving.Armed {
		t.Error("the successor did not note that the redirect is armed")
	}
	w.accepted("abort", ending(2, mobility.PhaseAbort))
	w.goes(old6, haltest.ActDeliver, old6)
}

func TestHoldIsActivatedByTheSuccessor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	d := w.prepared(5, hotKeep, away6)
	w.restart()
	w.goes(d[away6], haltest.ActHold, netip.Addr{})
	if again := w.prepared(5, hotKeep, away6); again[away6] != d[away6] {
		t.Errorf("the repeated PREPARE got %v, want %v", again, d)
	}
	w.restart()
	w.command(activateVM)
	w.goes(away6, haltest.ActDeliver, away6)
	w.reply(w.next("commit"), registration.Reply{Status: mobility.StatusUnspecified}) // to the one that is dead
	w.restart()
	w.goes(away6, haltest.ActDeliver, away6)
	w.pass(3 * time.Second)
	if r := w.next("commit").Request; r.Epoch != 5 || r.Ticket != (mobility.Ticket{1}) || len(r.Deliveries) != 1 {
		t.Errorf("commit after the restart: %+v", r)
	}
}

// A reboot clears the card: records come back from disk, rules are put anew and
// switched as the records say, and M is told at once.
func TestReboot(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.attached(old6)
	w.dev = haltest.NewChaos(haltest.Plan{Now: func() time.Time { return w.now }})
	w.start(true)
	w.goes(old6, haltest.ActDeliver, old6) // before any Reply
	w.pass(time.Second)
	if r := w.next("refresh").Request; r.Handoff != mobility.HandoffUnchanged || r.Epoch != 1 {
		t.Errorf("after the reboot: %+v", r)
	}

	w.accepted("prepare", prepareSource(2, hotKeep, pair6))
	w.command(release)
	w.accepted("redirect", redirectTo(2, locB, hotKeep, pair6))
	w.dev = haltest.NewChaos(haltest.Plan{Now: func() time.Time { return w.now }})
	w.start(true)
	w.goes(old6, haltest.ActRedirect, d6)
}

// Rules of a VM whose record was dropped while the process died are removed.
func TestLeftoversAreRemoved(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.attached(old6)
	delete(w.kept, vm1)
	w.restart()
	w.holds()
}

func TestEverybodyRegistersAgainSpreadOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config, _ *haltest.Plan) { c.Spread = 10 * time.Second })
	for i := range 20 {
		vm := mobility.NAI(fmt.Sprintf("vm%d@lab", i))
		w.command(func(id CommandID) Event {
			return Attach{ID: id, VM: vm, MAC: mac1, Addresses: []netip.Addr{netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, 0xa, 14: 1, 15: byte(i)})}}
		})
		w.reply(w.next("register"), registration.Reply{Epoch: 1})
	}
	w.fromM(w.m.Notify(w.now, locA, 1, nil))
	w.pass(5 * time.Second)
	half := len(w.asks)
	w.pass(5 * time.Second)
	if half == 0 || half == 20 || len(w.asks) != 20 {
		t.Errorf("%d of 20 registered again after half of the time, %d after all of it", half, len(w.asks))
	}
}
