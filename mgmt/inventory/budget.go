package inventory

import (
	"time"

	"github.com/dpmip/dpmip/internal/strictconf"
)

// Budget says how host routes that do not fit into a router give way.
type Budget struct {
	// Interval is how often it is looked who has room, default 10 s.
	Interval time.Duration
	// Settle is how long an address stays as it is after a change from routed to
	// translated or back, and how long one that has just moved may go unmeasured
	// before it counts as quiet. Default 1 m.
	Settle time.Duration
	// Ratio is how many times the packets of a routed address a translated one
	// must carry to take its place, default 2, at least 1.
	Ratio int
}

type budgetTable struct {
	Interval strictconf.Duration `toml:"interval"`
	Settle   strictconf.Duration `toml:"settle"`
	Ratio    int                 `toml:"ratio"`
}

func (b *builder) budget(t *budgetTable) error {
	switch {
	case t.Interval < 0:
		return b.src.Errorf("policy.budget.interval", "%v is negative", t.Interval.D())
	case t.Settle < 0:
		return b.src.Errorf("policy.budget.settle", "%v is negative", t.Settle.D())
	case t.Ratio < 0:
		return b.src.Errorf("policy.budget.ratio", "%d: want 1 or more", t.Ratio)
	}
	b.inv.Policy.Budget = Budget{Interval: orD(t.Interval, 10*time.Second), Settle: orD(t.Settle, time.Minute), Ratio: orElse(t.Ratio, 2)}
	return nil
}
