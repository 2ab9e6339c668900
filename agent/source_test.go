package agent

import (
	"net/netip"
	"testing"
	"time"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/haltest"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
)

var pair6 = mobility.Pair{Old: old6, New: d6}

func release(id CommandID) Event { return Release{ID: id, VM: vm1} }

func TestAttachRegistersThenForwards(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	if a := w.command(func(id CommandID) Event {
		return Attach{ID: id, VM: vm1, MAC: mac1, Addresses: []netip.Addr{old4, old6}, Wait: time.Second}
	}); a != nil {
		t.Fatalf("answered before the management node did: %+v", a)
	}
	w.holds() // nothing is forwarded for a VM that nobody has allowed
	ask := w.next("register")
	r := ask.Request
	if r.Handoff != mobility.HandoffNew || r.Epoch != 0 || r.MAC != mac1 || r.Locator4 != locA4 || r.CareOf.IsValid() ||
		len(r.Slots) != 2 || r.Slots[0] != old6 || r.Lifetime != 900 {
		t.Errorf("register: %+v", r)
	}
	w.reply(ask, registration.Reply{Epoch: 1})
	if a := w.answers[w.id]; a.Err != nil || !a.VM.Registered || a.VM.Epoch != 1 || a.VM.Port != "p-vm1" {
		t.Errorf("answer: %+v", a)
	}
	w.goes(old6, haltest.ActDeliver, old6)
	w.goes(old4, haltest.ActDeliver, old4)
	w.holds(hwabstraction.DeliverID(old6), hwabstraction.DeliverID(old4), hwabstraction.EgressID("p-vm1", old6), hwabstraction.EgressID("p-vm1", old4))
	if len(w.announce) != 1 {
		t.Errorf("announced %v, want once", w.announce)
	}

	w.pass(35 * time.Minute)
	if len(w.asks) != 0 {
		t.Fatal("refreshed before two thirds of the lifetime")
	}
	w.pass(8 * time.Minute)
	ask = w.next("refresh")
	if r := ask.Request; r.Handoff != mobility.HandoffUnchanged || r.Epoch != 1 || r.CareOf.IsValid() {
		t.Errorf("refresh: %+v", r)
	}
	w.reply(ask, registration.Reply{Epoch: 1})

	w.command(func(id CommandID) Event { return Detach{ID: id, VM: vm1, Wait: time.Second} })
	w.holds()
	ask = w.next("deregister")
	if r := ask.Request; r.Lifetime != 0 || r.Handoff != mobility.HandoffUnknown || r.Epoch != 1 || len(r.Slots) != 2 {
		t.Errorf("deregister: %+v", r)
	}
	w.reply(ask, registration.Reply{})
	if a := w.answers[w.id]; a.Err != nil {
		t.Errorf("detach: %v", a.Err)
	}
	if len(w.kept) != 0 {
		t.Errorf("kept after detach: %v", w.kept)
	}
}

func TestSourceOfAMove(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.attached(old6)
	if a := w.command(release); commandCode(a.Err) != CommandNotReady {
		t.Errorf("release without a move: %v", a.Err)
	}
	w.accepted("prepare", prepareSource(2, hotKeep, pair6))
	w.goes(old6, haltest.ActDeliver, old6) // disarmed
	w.accepted("prepare, repeated", prepareSource(2, hotKeep, pair6))

	w.trace = nil
	a := w.command(release)
	if a.Err != nil || a.Epoch != 2 {
		t.Fatalf("release: %+v", a)
	}
	if _, first := w.trace[0].(Switch); !first {
		t.Errorf("release did %T first, want the switch", w.trace[0])
	}
	if _, second := w.trace[1].(Answer); !second {
		t.Errorf("release did %T before its answer", w.trace[1])
	}
	w.goes(old6, haltest.ActRedirect, d6)
	if a := w.command(release); a.Err != nil || a.Epoch != 2 {
		t.Errorf("release, repeated: %+v", a)
	}
	w.holds(hwabstraction.DeliverID(old6), hwabstraction.EgressID("p-vm1", old6), hwabstraction.RedirectID(old6)) // Egress stays until the COMMIT

	w.accepted("redirect", redirectTo(2, locB, hotKeep, pair6))
	w.holds(hwabstraction.RedirectID(old6))
	w.goes(old6, haltest.ActRedirect, d6)
	w.accepted("redirect, repeated", redirectTo(2, locB, hotKeep, pair6))
	keep := redirectTo(2, locB, hotKeep, pair6)
	keep.Handoff = mobility.HandoffUnchanged
	w.accepted("keep alive", keep)
	if len(w.reports) == 0 || w.reports[0].Role != "source" || w.reports[0].Epoch != 2 || w.reports[0].Flows != 1 || w.reports[0].Armed.IsZero() {
		t.Errorf("reports: %+v", w.reports)
	}

	t.Run("collapse", func(t *testing.T) {
		dc := addr("2001:db8:c:d::9")
		w.accepted("redirect to C", redirectTo(3, locC, hotKeep, mobility.Pair{Old: old6, New: dc}))
		w.goes(old6, haltest.ActRedirect, dc)
		r := w.refused("redirect of the older epoch", mobility.StatusProhibited, redirectTo(2, locB, hotKeep, pair6))
		if r.Epoch != 3 {
			t.Errorf("the refusal carries epoch %d, want 3", r.Epoch)
		}
		w.goes(old6, haltest.ActRedirect, dc)
	})
}

// A redirect that acts is never without effect while it is changed.
func TestAnchorFollowsWithoutAGap(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.attached(old6)
	w.accepted("prepare", prepareSource(2, hotKeep, pair6))
	w.command(release)
	w.accepted("redirect", redirectTo(2, locB, hotKeep, pair6))
	gap := false
	w.crash = func(Effect) bool {
		gap = gap || w.dev.Decide(old6).Act != haltest.ActRedirect
		return false
	}
	w.accepted("redirect to C", redirectTo(3, locC, hotKeep, mobility.Pair{Old: old6, New: d4as6}))
	if gap {
		t.Error("there was a moment without the redirect")
	}
}

var d4as6 = addr("2001:db8:c:d::4")

func TestRedirectWithoutPrepare(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.attached(old6)
	w.accepted("plain redirect", redirectTo(2, locB, hotKeep, mobility.Pair{Old: old6, New: old6}))
	w.goes(old6, haltest.ActRedirect, old6)
	w.holds(hwabstraction.RedirectID(old6))
}

func TestAbortAtTheSource(t *testing.T) {
	t.Parallel()
	for name, released := range map[string]bool{"before release": false, "after release": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			w.attached(old6)
			w.accepted("prepare", prepareSource(2, hotKeep, pair6))
			if released {
				w.command(release)
			}
			w.accepted("abort", ending(2, mobility.PhaseAbort))
			w.goes(old6, haltest.ActDeliver, old6)
			w.holds(hwabstraction.DeliverID(old6), hwabstraction.EgressID("p-vm1", old6))
			w.accepted("abort, repeated", ending(2, mobility.PhaseAbort))
			w.accepted("the next move", prepareSource(3, hotKeep, pair6))
			w.command(release)
			w.goes(old6, haltest.ActRedirect, d6)
			w.accepted("redirect", redirectTo(3, locB, hotKeep, pair6))
			w.refused("abort after the COMMIT", mobility.StatusProhibited, ending(3, mobility.PhaseAbort))
			w.goes(old6, haltest.ActRedirect, d6)
		})
	}
}

func TestCold(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.attached(old6)
	w.refused("cold of the current epoch", mobility.StatusProhibited, ending(1, mobility.PhaseCommit))
	w.accepted("cold", ending(2, mobility.PhaseCommit))
	w.holds()
	w.accepted("cold, repeated", ending(2, mobility.PhaseCommit))
	if len(w.kept) != 0 {
		t.Errorf("kept: %v", w.kept)
	}
}

func TestDrain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.attached(old6)
	o := renumber(mobility.PolicyDrop)
	w.accepted("prepare", prepareSource(2, o, pair6))
	w.command(release)
	w.accepted("redirect", redirectTo(2, locB, o, pair6))

	w.pass(20 * time.Second)
	if len(w.asks) != 0 {
		t.Fatal("asked before the redirect was quiet long enough")
	}
	w.pass(25 * time.Second)
	ask := w.next("may I")
	if r := ask.Request; r.Lifetime != 0 || r.Handoff != mobility.HandoffUnknown || r.Epoch != 2 || len(r.Slots) != 1 || r.Slots[0] != old6 {
		t.Errorf("may I: %+v", r)
	}
	w.reply(ask, registration.Reply{Status: mobility.StatusProhibited})
	w.goes(old6, haltest.ActRedirect, d6)

	w.pass(20 * time.Second)
	if len(w.asks) != 0 {
		t.Error("asked again at once")
	}
	w.pass(40 * time.Second)
	w.reply(w.next("may I, again"), registration.Reply{})
	w.holds()
	w.goes(old6, haltest.ActDrop, old6) // its own prefix is unreachable
	if last := w.reports[len(w.reports)-1]; last.Drained.IsZero() {
		t.Errorf("the last report does not tell the drain: %+v", last)
	}
	w.accepted("cold after all", ending(3, mobility.PhaseCommit))
}

func TestLifetimeOnlyAsks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config, _ *haltest.Plan) { c.DrainQuiet = 10 * time.Hour })
	w.attached(old6)
	w.accepted("prepare", prepareSource(2, hotKeep, pair6))
	w.command(release)
	r := redirectTo(2, locB, hotKeep, pair6)
	r.Lifetime = 15 // a minute
	w.accepted("redirect", r)
	w.cut = true
	w.pass(2 * time.Hour)
	w.goes(old6, haltest.ActRedirect, d6)
	w.cut = false
	w.pass(2 * time.Minute)
	w.reply(w.next("may I"), registration.Reply{Status: mobility.StatusProhibited})
	w.goes(old6, haltest.ActRedirect, d6)
}

func TestServingOutlivesTheManagementNode(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.attached(old6)
	w.cut = true
	w.pass(10 * time.Hour)
	w.goes(old6, haltest.ActDeliver, old6)
	w.cut = false
	w.pass(time.Minute)
	if r := w.next("refresh").Request; r.Handoff != mobility.HandoffUnchanged {
		t.Errorf("refresh: %+v", r)
	}
}
