package haltest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dpmip/dpmip/hwabstraction"
)

func puts(s hwabstraction.Stamp, n int) (changes []hwabstraction.Change) {
	for i := range n {
		changes = append(changes, hwabstraction.Put(hwabstraction.Redirect{
			Stamp: s, Address: family4.old(i), To: family4.there(i),
		}))
	}
	return changes
}

// outcome applies changes and writes the errors down: "." is success.
func outcome(c *Chaos, changes []hwabstraction.Change) (out string) {
	letters := map[error]string{
		nil: ".", hwabstraction.ErrTableFull: "F", hwabstraction.ErrPortGone: "P",
		hwabstraction.ErrNotSupported: "N", hwabstraction.ErrStale: "S", hwabstraction.ErrClosed: "C",
	}
	for _, r := range c.Apply(context.Background(), changes) {
		letter := "?"
		for err, l := range letters {
			if errors.Is(r.Err, err) {
				letter = l
			}
		}
		out += letter
	}
	return out
}

func TestScriptedFaults(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		plan Plan
		want []string // of three equal batches of four puts
		left int      // rules in the end
	}{
		{"none", Plan{}, []string{"....", "....", "...."}, 4},
		{"the second call", Plan{Faults: []Fault{{Apply: 2, Err: hwabstraction.ErrClosed}}}, []string{"....", "CCCC", "...."}, 4},
		{"part of a batch", Plan{Faults: []Fault{{From: 1, Count: 2, Err: hwabstraction.ErrPortGone}}}, []string{".PP.", ".PP.", ".PP."}, 2},
		{"the rest of a batch", Plan{Faults: []Fault{{Apply: 1, From: 3, Err: hwabstraction.ErrTableFull}}}, []string{"...F", "....", "...."}, 4},
		{"a kind", Plan{Faults: []Fault{{Kind: hwabstraction.KindDeliver, Err: hwabstraction.ErrNotSupported}}}, []string{"....", "....", "...."}, 4},
		{"a full table", Plan{MaxRules: 3}, []string{"...F", "...F", "...F"}, 3},
		{"rules lost", Plan{Faults: []Fault{{Apply: 3, Lose: 3}}}, []string{"....", "....", "...."}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := NewChaos(tt.plan)
			for i, want := range tt.want {
				if got := outcome(c, puts(owner(1, 1), 4)); got != want {
					t.Errorf("batch %d: %s, want %s", i+1, got, want)
				}
			}
			if rules, err := c.Rules(t.Context()); err != nil || len(rules) != tt.left {
				t.Errorf("%d rules left, want %d (%v)", len(rules), tt.left, err)
			}
		})
	}
}

func TestInjectedLater(t *testing.T) {
	t.Parallel()
	c := NewChaos(Plan{})
	outcome(c, puts(owner(1, 1), 1))
	c.Inject(Fault{Apply: 2, Err: hwabstraction.ErrTableFull})
	for i, want := range []string{".", "F", "."} {
		if got := outcome(c, puts(owner(1, 1), 1)); got != want {
			t.Errorf("call %d after the fault was injected: %s, want %s", i+1, got, want)
		}
	}
	c.Inject(Fault{Placement: hwabstraction.PlacementHardwareStateless})
	if r := c.Apply(t.Context(), puts(owner(1, 1), 1)); r[0].Placement != hwabstraction.PlacementHardwareStateless {
		t.Errorf("placed at %s", r[0].Placement)
	}
	if c.Calls() != 5 {
		t.Errorf("%d calls, want 5", c.Calls())
	}
}

// TestSeeded checks that one seed gives one history and another another.
func TestSeeded(t *testing.T) {
	t.Parallel()
	history := func(seed uint64) (h []string) {
		c := NewChaos(Plan{Seed: seed, Chance: 0.4, Lose: 0.5, Now: func() time.Time { return time.Unix(0, 0) }})
		for i := range uint32(8) {
			h = append(h, outcome(c, puts(owner(1, i), 8)))
			rules, _ := c.Rules(context.Background())
			h = append(h, fmt.Sprint(rules))
		}
		return h
	}
	if !slices.Equal(history(7), history(7)) {
		t.Error("one seed, two histories")
	}
	if slices.Equal(history(7), history(8)) {
		t.Error("two seeds, one history")
	}
}

func TestSlow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := NewChaos(Plan{Faults: []Fault{{Delay: time.Minute}}})
		begin := time.Now()
		if got := outcome(c, puts(owner(1, 1), 2)); got != ".." || time.Since(begin) != time.Minute {
			t.Errorf("%s after %s", got, time.Since(begin))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for _, r := range c.Apply(ctx, puts(owner(1, 2), 2)) {
			if !errors.Is(r.Err, context.DeadlineExceeded) {
				t.Errorf("%s: %v, want the context's error", r.ID, r.Err)
			}
		}
		if g, err := c.Group(owner(1, 1)); err != nil {
			t.Errorf("a batch cut short has changed something: %+v, %v", g, err)
		}
	})
}

func TestPortsComeAndGo(t *testing.T) {
	t.Parallel()
	c := NewChaos(Plan{Ports: []string{"fab0", "vm0"}})
	d := []hwabstraction.Change{hwabstraction.Put(hwabstraction.Deliver{
		Stamp: owner(1, 1), Address: family4.old(1), Restore: family4.old(1), Port: "vm0",
	})}
	for i, step := range []struct {
		do   func()
		want string
	}{
		{func() {}, "."}, {func() { c.RemovePort("vm0") }, "P"}, {func() { c.AddPort("vm0") }, "."},
	} {
		step.do()
		if i == 1 {
			if rules, _ := c.Rules(t.Context()); len(rules) != 0 {
				t.Errorf("the rules of a port that is gone: %v", rules)
			}
		}
		if got := outcome(c, d); got != step.want {
			t.Errorf("step %d: %s, want %s", i, got, step.want)
		}
	}
}

func TestMeddling(t *testing.T) {
	t.Parallel()
	c := NewChaos(Plan{})
	changes := puts(owner(1, 5), 3)
	outcome(c, changes)
	newer := hwabstraction.Redirect{Stamp: owner(2, 9), Address: family4.old(1), To: family4.there(9)}
	c.Foreign(newer)
	c.Vanish(hwabstraction.RedirectID(family4.old(2)))
	if got := outcome(c, changes); got != ".S." {
		t.Errorf("after meddling: %s", got)
	}
	if log := c.Applied(); len(log) != 5 || c.Applied() != nil {
		t.Errorf("%d changes were applied: %v", len(log), log)
	}
	d := c.Decide(family4.old(1))
	if d.Act != ActRoute {
		t.Errorf("a redirect that is not armed: %+v", d)
	}
	if err := c.Arm(newer.Stamp); err != nil {
		t.Fatal(err)
	}
	if d := c.Decide(family4.old(1)); d.Act != ActRedirect || d.To != newer.To || d.Rule != newer {
		t.Errorf("armed: %+v", d)
	}
}

func TestHoldTime(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	s := newStand(t, family6, NewChaosRig(Plan{Now: func() time.Time { return now }}))
	st := owner(1, 1)
	s.do("SetHoldLimit", s.dev.SetHoldLimit(st, hwabstraction.HoldLimit{Time: time.Second}))
	s.put(s.deliverHere(1, st))
	here := func(int) spec { return spec{dst: s.here(1)} }
	s.toward(here, 0, 3)
	now = now.Add(2 * time.Second)
	s.toward(here, 3, 5)
	if g := s.group(st); g.HeldNow != 3 || g.HoldDrops != 2 {
		t.Errorf("after the hold's time: %+v", g)
	}
	s.activate(st)
	s.expect(s.vm[0], func(int) spec { return spec{dst: s.old(1)} }, 0, 3)
}
