package offload_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/haltest"
	"github.com/dpmip/dpmip/offload"
)

// bench is a reconciler on a chaos device, under a clock of its own.
type bench struct {
	*testing.T
	now   time.Time
	chaos *haltest.Chaos
	r     *offload.Reconciler
}

func newBench(t *testing.T, p haltest.Plan) *bench {
	b := &bench{T: t, now: time.Unix(1_700_000_000, 0)}
	p.Now = b.clock
	p.Ports = []string{"fab0", "vm0"}
	b.chaos = haltest.NewChaos(p)
	b.r = b.reconciler(b.chaos)
	return b
}

func (b *bench) clock() time.Time { return b.now }

func (b *bench) reconciler(d hwabstraction.Device) *offload.Reconciler {
	return offload.NewReconciler(offload.ReconcilerConfig{
		Device: d, Now: b.clock, Random: func() float64 { return 0 }, Batch: 3,
	})
}

func stamp(owner byte, epoch uint32) hwabstraction.Stamp {
	return hwabstraction.Stamp{Owner: [16]byte{owner}, Epoch: epoch}
}

func addr(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}) }

func redirectOf(s hwabstraction.Stamp, i int) hwabstraction.Rule {
	return hwabstraction.Redirect{Stamp: s, Address: addr(i), To: addr(i + 1000)}
}

func deliverOf(s hwabstraction.Stamp, i int) hwabstraction.Rule {
	return hwabstraction.Deliver{Stamp: s, Address: addr(i), Restore: addr(i), Port: "vm0"}
}

func (b *bench) desire(upTo hwabstraction.Stamp, rules ...hwabstraction.Rule) {
	b.Helper()
	if err := b.r.SetDesired(upTo, rules); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) sync() []offload.Status {
	b.Helper()
	return b.r.Sync(context.Background())
}

// step lets the clock run to when something is due, and syncs.
func (b *bench) step() []offload.Status {
	b.Helper()
	if next := b.r.Next(); next.After(b.now) {
		b.now = next
	}
	return b.sync()
}

func (b *bench) onDevice() []hwabstraction.Rule {
	b.Helper()
	got, err := b.chaos.Rules(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	var rules []hwabstraction.Rule
	for _, x := range got {
		rules = append(rules, x.Rule)
	}
	return rules
}

func sorted(rules []hwabstraction.Rule) []string {
	out := []string{}
	for _, x := range rules {
		out = append(out, fmt.Sprintf("%+v", x))
	}
	slices.Sort(out)
	return out
}

func (b *bench) expectDevice(want ...hwabstraction.Rule) {
	b.Helper()
	if diff := cmp.Diff(sorted(want), sorted(b.onDevice())); diff != "" {
		b.Fatalf("rules on the device (-want +got):\n%s", diff)
	}
}

func (b *bench) expectState(id hwabstraction.RuleID, want offload.State) offload.Status {
	b.Helper()
	got, ok := b.r.Status(id)
	if !ok || got.State != want {
		b.Fatalf("%s is %s (%v), want %s", id, got.State, got.Err, want)
	}
	return got
}

func TestAddsBeforeDeletes(t *testing.T) {
	t.Parallel()
	b := newBench(t, haltest.Plan{})
	for o := byte(1); o <= 3; o++ {
		b.desire(stamp(o, 1), deliverOf(stamp(o, 1), 10*int(o)), deliverOf(stamp(o, 1), 10*int(o)+1))
	}
	b.sync()
	b.chaos.Applied()
	for o := byte(1); o <= 3; o++ {
		b.desire(stamp(o, 2), redirectOf(stamp(o, 2), 10*int(o)), redirectOf(stamp(o, 2), 10*int(o)+1))
	}
	b.sync()
	log := b.chaos.Applied()
	if len(log) != 12 {
		t.Fatalf("%d changes, want 6 puts and 6 deletes", len(log))
	}
	for i, ch := range log {
		if ch.Delete != (i >= 6) {
			t.Errorf("change %d of %d is %+v: want all puts before all deletes", i, len(log), ch)
		}
	}
}

func TestDeleteWaitsForItsSuccessor(t *testing.T) {
	t.Parallel()
	b := newBench(t, haltest.Plan{})
	b.desire(stamp(1, 1), deliverOf(stamp(1, 1), 1), deliverOf(stamp(1, 1), 2))
	b.sync()
	b.chaos.Inject(haltest.Fault{Kind: hwabstraction.KindRedirect, Err: hwabstraction.ErrPortGone})
	b.desire(stamp(1, 2), redirectOf(stamp(1, 2), 1))
	b.sync()
	b.expectDevice(deliverOf(stamp(1, 1), 1)) // its redirect failed; the other has none to wait for
	b.expectState(deliverOf(stamp(1, 1), 1).ID(), offload.StateRemoving)
	b.chaos.Calm()
	b.step()
	b.step()
	b.expectDevice(redirectOf(stamp(1, 2), 1))
}

// TestLowerEpochGoesFirst: a redirect goes after the older delivery that it
// overrides, or that would act again.
func TestLowerEpochGoesFirst(t *testing.T) {
	t.Parallel()
	b := newBench(t, haltest.Plan{})
	old, over, other := deliverOf(stamp(1, 1), 1), redirectOf(stamp(1, 2), 1), redirectOf(stamp(1, 2), 2)
	b.desire(stamp(1, 2), old, over, other)
	b.sync()
	b.chaos.Inject(haltest.Fault{Kind: hwabstraction.KindDeliver, Err: hwabstraction.ErrPortGone})
	b.desire(stamp(1, 3))
	b.sync()
	b.expectDevice(old, over) // the other has nothing below it
	b.chaos.Calm()
	b.chaos.Applied()
	b.step()
	b.step()
	b.expectDevice()
	if log := b.chaos.Applied(); len(log) != 2 || log[0].ID != old.ID() || log[1].ID != over.ID() {
		t.Errorf("removed %+v, want the delivery and then the redirect", log)
	}
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	b := newBench(t, haltest.Plan{})
	b.chaos.Inject(haltest.Fault{Err: hwabstraction.ErrTableFull})
	rule := redirectOf(stamp(1, 1), 1)
	b.desire(stamp(1, 1), rule)
	b.sync()
	wait := 50 * time.Millisecond
	for try := 1; try < 12; try++ {
		st := b.expectState(rule.ID(), offload.StateFailed)
		if got := st.Next.Sub(b.now); st.Tries != try || got != wait || !errors.Is(st.Err, hwabstraction.ErrTableFull) {
			t.Fatalf("try %d: %+v, waits %s, want %s", try, st, got, wait)
		}
		calls := b.chaos.Calls()
		b.now = st.Next.Add(-time.Nanosecond)
		b.sync()
		if got := b.chaos.Calls(); got != calls {
			t.Fatalf("tried before its time")
		}
		b.now = st.Next
		b.sync()
		wait = min(2*wait, 30*time.Second)
	}
	b.chaos.Calm()
	b.now = b.now.Add(time.Minute)
	b.sync()
	b.expectState(rule.ID(), offload.StateApplied)
}

func TestNeverRetried(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err  error
		want offload.State
	}{
		{hwabstraction.ErrNotSupported, offload.StateRefused},
		{hwabstraction.ErrInvalidRule, offload.StateRefused},
	} {
		b := newBench(t, haltest.Plan{})
		b.chaos.Inject(haltest.Fault{Err: tt.err})
		rule := redirectOf(stamp(1, 1), 1)
		b.desire(stamp(1, 1), rule)
		for range 20 {
			b.step()
		}
		b.expectState(rule.ID(), tt.want)
		if b.chaos.Calls() != 1 {
			t.Errorf("%v: tried %d times", tt.err, b.chaos.Calls())
		}
		changed := hwabstraction.Redirect{Stamp: stamp(1, 1), Address: addr(1), To: addr(7)}
		b.desire(stamp(1, 1), changed)
		b.chaos.Calm()
		b.sync()
		b.expectDevice(changed)
	}
}

func TestNewerEpochIsLeftAlone(t *testing.T) {
	t.Parallel()
	b := newBench(t, haltest.Plan{})
	old, newer := redirectOf(stamp(1, 3), 1), redirectOf(stamp(1, 4), 1)
	b.desire(stamp(1, 3), old)
	b.sync()
	b.chaos.Foreign(newer)
	changed := hwabstraction.Redirect{Stamp: stamp(1, 3), Address: addr(1), To: addr(7)}
	b.desire(stamp(1, 3), changed)
	calls := b.chaos.Calls()
	for range 5 {
		b.step()
	}
	b.expectDevice(newer)
	b.expectState(old.ID(), offload.StateOvertaken)
	if got := b.chaos.Calls() - calls; got != 1 {
		t.Errorf("a stale put was tried %d times", got)
	}
	b.desire(stamp(1, 3))
	for range 3 {
		b.step()
	}
	b.expectDevice(newer)
	b.desire(stamp(1, 4))
	b.r.Resync()
	b.sync()
	b.expectDevice()
}

func TestLowerClaimIsRefused(t *testing.T) {
	t.Parallel()
	b := newBench(t, haltest.Plan{})
	b.desire(stamp(1, 3), redirectOf(stamp(1, 3), 1))
	if err := b.r.SetDesired(stamp(1, 2), nil); !errors.Is(err, hwabstraction.ErrStale) {
		t.Errorf("a claim below an earlier one: %v, want ErrStale", err)
	}
	for _, r := range []hwabstraction.Rule{redirectOf(stamp(2, 3), 1), redirectOf(stamp(1, 4), 1)} {
		if err := b.r.SetDesired(stamp(1, 3), []hwabstraction.Rule{r}); err == nil {
			t.Errorf("a rule with the stamp %s was taken", r.Stamped())
		}
	}
}

func TestVanishedRuleComesBackSwitched(t *testing.T) {
	t.Parallel()
	b := newBench(t, haltest.Plan{})
	s := stamp(1, 1)
	rule, kept := redirectOf(s, 1), deliverOf(stamp(1, 2), 2)
	b.desire(stamp(1, 2), rule, kept)
	b.sync()
	b.r.Keep(s, offload.Switch{Armed: true})
	if err := b.chaos.Arm(s); err != nil {
		t.Fatal(err)
	}
	b.chaos.Vanish(rule.ID())
	b.chaos.Foreign(redirectOf(stamp(9, 1), 9))
	b.step()
	b.expectDevice(rule, kept, redirectOf(stamp(9, 1), 9))
	if g, err := b.chaos.Group(s); err != nil || !g.Armed {
		t.Errorf("the group that was armed: %+v, %v", g, err)
	}
	if g, err := b.chaos.Group(stamp(1, 2)); err != nil || g.Active {
		t.Errorf("the group that was not: %+v, %v", g, err)
	}
	if got := b.r.Foreign(); len(got) != 1 || got[0] != redirectOf(stamp(9, 1), 9) {
		t.Errorf("foreign rules: %v", got)
	}
}

func TestSuccessorAdopts(t *testing.T) {
	t.Parallel()
	b := newBench(t, haltest.Plan{})
	keep, drop := redirectOf(stamp(1, 1), 1), redirectOf(stamp(1, 1), 2)
	orphan := redirectOf(stamp(3, 1), 3)
	b.desire(stamp(1, 1), keep, drop)
	b.desire(stamp(3, 1), orphan)
	b.sync()
	b.chaos = b.chaos.Reopen()
	b.r = b.reconciler(b.chaos)
	found, err := b.r.Adopt(context.Background())
	if err != nil || len(found) != 3 {
		t.Fatalf("adopted %v, %v", found, err)
	}
	b.chaos.Applied()
	b.desire(stamp(1, 1), keep)
	b.sync()
	b.expectDevice(keep, orphan)
	if log := b.chaos.Applied(); len(log) != 1 || !log[0].Delete {
		t.Errorf("a successor made the changes %v, want one delete", log)
	}
	b.expectState(keep.ID(), offload.StateApplied)
	b.desire(stamp(3, 1))
	b.sync()
	b.expectDevice(keep)
}

// What a successor finds that the device has and cannot find by its address is
// put again at once, without another reading.
func TestSuccessorPutsAgainWhatIsNowhere(t *testing.T) {
	t.Parallel()
	b := newBench(t, haltest.Plan{})
	rule, lost := redirectOf(stamp(1, 1), 1), redirectOf(stamp(1, 1), 2)
	b.desire(stamp(1, 1), rule, lost)
	b.sync()
	b.chaos = b.chaos.Reopen()
	b.chaos.Place(lost.ID(), hwabstraction.PlacementNone)
	b.r = b.reconciler(b.chaos)
	if _, err := b.r.Adopt(context.Background()); err != nil {
		t.Fatal(err)
	}
	b.chaos.Applied()
	b.desire(stamp(1, 1), rule, lost)
	b.sync()
	if log := b.chaos.Applied(); len(log) != 1 || log[0].Target() != lost.ID() {
		t.Errorf("a successor made the changes %v, want one put of %s", log, lost.ID())
	}
}

func TestPlacementIsSeenToFall(t *testing.T) {
	t.Parallel()
	b := newBench(t, haltest.Plan{})
	rule := redirectOf(stamp(1, 1), 1)
	b.desire(stamp(1, 1), rule)
	b.sync()
	b.chaos.Place(rule.ID(), hwabstraction.PlacementKernelRoute)
	got := b.step()
	if len(got) != 1 || got[0].Placement != hwabstraction.PlacementKernelRoute || got[0].State != offload.StateApplied {
		t.Errorf("after the rule fell: %+v", got)
	}
}

func TestFullTableIsCleared(t *testing.T) {
	t.Parallel()
	b := newBench(t, haltest.Plan{MaxRules: 4})
	var olds, news []hwabstraction.Rule
	for i := range 4 {
		olds = append(olds, deliverOf(stamp(1, 1), i+1))
		news = append(news, redirectOf(stamp(1, 2), i+1))
	}
	b.desire(stamp(1, 1), olds...)
	b.sync()
	b.desire(stamp(1, 2), news...)
	for range 10 {
		b.step()
	}
	b.expectDevice(news...)
}

func TestAddressPassesBetweenOwners(t *testing.T) {
	t.Parallel()
	b := newBench(t, haltest.Plan{})
	b.desire(stamp(1, 9), redirectOf(stamp(1, 9), 1))
	b.sync()
	b.desire(stamp(2, 1), redirectOf(stamp(2, 1), 1))
	b.desire(stamp(1, 9))
	b.sync()
	b.expectDevice(redirectOf(stamp(2, 1), 1))
}

func TestContextCutsShort(t *testing.T) {
	t.Parallel()
	b := newBench(t, haltest.Plan{})
	rule := redirectOf(stamp(1, 1), 1)
	b.desire(stamp(1, 1), rule)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	b.r.Sync(ctx)
	if st := b.expectState(rule.ID(), offload.StatePending); st.Tries != 0 {
		t.Errorf("cut short, yet it counts as tried: %+v", st)
	}
	b.step()
	b.expectDevice(rule)
}
