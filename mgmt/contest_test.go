package mgmt

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dpmip/dpmip/mgmt/inventory"
	"github.com/dpmip/dpmip/mobility"
)

// TestContest: who gives way, who comes back, who stays.
func TestContest(t *testing.T) {
	t.Parallel()
	long, soon := epoch.Add(-time.Hour), epoch.Add(-time.Second)
	k := func(name string, rate float64, since time.Time, flags ...string) *contender {
		has := func(f string) bool { return slices.Contains(flags, f) }
		c := &contender{vm: mobility.NAI(name), rate: rate, since: since, routers: []string{"r", "s"}, yielded: has("yielded"), fixed: has("fixed"), fresh: has("fresh")}
		if has("elsewhere") {
			c.routers = []string{"x"}
		}
		return c
	}
	for name, c := range map[string]struct {
		limit int
		list  []*contender
		want  []string
		short []string
	}{
		"room for all":             {2, []*contender{k("a", 1, long), k("b", 2, long)}, nil, nil},
		"the quietest gives way":   {2, []*contender{k("a", 9, long), k("b", 1, long), k("c", 5, long)}, []string{"b yields at r"}, nil},
		"as many as needed":        {1, []*contender{k("a", 9, long), k("b", 1, long), k("c", 5, long)}, []string{"b yields at r", "c yields at r"}, nil},
		"of equals the newest":     {1, []*contender{k("a", 0, soon), k("b", 0, long)}, []string{"a yields at r"}, nil},
		"never in a move":          {1, []*contender{k("a", 1, long, "fixed"), k("b", 9, long)}, []string{"b yields at r"}, nil},
		"nobody can":               {1, []*contender{k("a", 1, long, "fixed"), k("b", 9, long, "fixed")}, nil, []string{"r"}},
		"not for one not measured": {1, []*contender{k("a", 1, long), k("b", 0, soon, "fresh")}, nil, nil},
		"nor instead of one":       {1, []*contender{k("a", 1, long, "yielded"), k("b", 0, soon, "fresh")}, nil, nil},
		"room again":               {2, []*contender{k("a", 1, long, "yielded"), k("b", 2, long)}, []string{"a is routed"}, nil},
		"room for the busiest": {2, []*contender{k("a", 1, long, "yielded"), k("b", 2, long), k("c", 2, long, "yielded")},
			[]string{"c is routed"}, nil},
		"not so soon":                    {2, []*contender{k("a", 1, soon, "yielded"), k("b", 2, long)}, nil, nil},
		"a little busier":                {1, []*contender{k("a", 19, long, "yielded"), k("b", 10, long)}, nil, nil},
		"much busier":                    {1, []*contender{k("a", 20, long, "yielded"), k("b", 10, long)}, []string{"b yields at r", "a is routed"}, nil},
		"much busier, not settled":       {1, []*contender{k("a", 20, long, "yielded"), k("b", 10, soon)}, nil, nil},
		"idle ones do not change places": {1, []*contender{k("a", 0, long, "yielded"), k("b", 0, long)}, nil, nil},
		"who needs no room there is left alone": {1, []*contender{k("a", 1, long, "elsewhere"), k("b", 2, long), k("c", 3, long)},
			[]string{"b yields at r"}, nil},
		"no limit known": {0, []*contender{k("a", 1, long), k("b", 1, long, "yielded")}, []string{"b is routed"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := &contest{limits: map[string]int{}, now: epoch, begun: epoch.Add(-2 * time.Hour), list: c.list, reserved: map[string]int{},
				policy: inventory.Budget{Settle: time.Minute, Ratio: 2}}
			if c.limit > 0 {
				x.limits["r"] = c.limit
			}
			changes, short := x.decide()
			var got []string
			for _, ch := range changes {
				if ch.router == "" {
					got = append(got, ch.vm.Bytes+" is routed")
				} else {
					got = append(got, fmt.Sprintf("%s yields at %s", ch.vm.Bytes, ch.router))
				}
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("changes (-want +got):\n%s", d)
			}
			if d := cmp.Diff(c.short, short); d != "" {
				t.Errorf("short (-want +got):\n%s", d)
			}
		})
	}
}

// TestContestDoesNotFlap: whatever the rates do, nobody changes twice within the
// settling time, and no limit is passed by those that may give way.
func TestContestDoesNotFlap(t *testing.T) {
	t.Parallel()
	const limit, vms = 3, 8
	last := map[string]time.Time{}
	list := make([]*contender, vms)
	for i := range list {
		list[i] = &contender{vm: mobility.NAI(fmt.Sprintf("vm%d", i)), routers: []string{"r"}, since: epoch.Add(-time.Hour)}
	}
	changed := 0
	for step := range 600 {
		now := epoch.Add(time.Duration(step) * time.Second)
		for i, k := range list {
			k.rate = float64((step*(i+3)*7919)%101) * float64(1+(step/50+i)%5)
		}
		x := &contest{limits: map[string]int{"r": limit}, now: now, begun: epoch.Add(-time.Hour), list: list, reserved: map[string]int{}, policy: inventory.Budget{Settle: time.Minute, Ratio: 2}}
		changes, _ := x.decide()
		for _, ch := range changes {
			name := ch.vm.Bytes
			if before, ok := last[name]; ok && now.Sub(before) < time.Minute {
				t.Errorf("%s changed at %v and again after %v", name, before.Sub(epoch), now.Sub(before))
			}
			last[name] = now
			changed++
		}
		routed := 0
		for _, k := range list {
			if !k.yielded {
				routed++
			}
		}
		if routed != limit {
			t.Fatalf("at %v %d are routed, want %d", now.Sub(epoch), routed, limit)
		}
	}
	if changed <= vms-limit {
		t.Errorf("only %d changes: the rates changed places all the time", changed)
	}
}
