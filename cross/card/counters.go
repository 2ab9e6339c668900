package card

import (
	"fmt"
	"io"
	"slices"
	"sync"
)

// Counter names what is counted, as it is shown to Prometheus.
type Counter string

// The counters. Each only grows, from zero at every start of the card.
const (
	AgentStarts    Counter = "dpmip_init_agent_starts_total"
	AgentEnds      Counter = "dpmip_init_agent_ends_total"
	AgentUnhealthy Counter = "dpmip_init_agent_unhealthy_total"
	Confirmed      Counter = "dpmip_init_updates_confirmed_total"
	Refused        Counter = "dpmip_init_updates_refused_total"    // never started
	TakenBack      Counter = "dpmip_init_updates_taken_back_total" // started, and not fit
	SlotProblems   Counter = "dpmip_init_slot_problems_total"      // damaged, unreadable, no room to count a try
)

var all = []Counter{AgentStarts, AgentEnds, AgentUnhealthy, Confirmed, Refused, TakenBack, SlotProblems}

// counts guards its map.
type counts struct {
	mu sync.Mutex
	n  map[Counter]uint64
}

// Count adds one.
func (c *Card) Count(name Counter) {
	c.counts.mu.Lock()
	defer c.counts.mu.Unlock()
	if c.counts.n == nil {
		c.counts.n = make(map[Counter]uint64)
	}
	c.counts.n[name]++
}

// Counted tells one.
func (c *Card) Counted(name Counter) uint64 {
	c.counts.mu.Lock()
	defer c.counts.mu.Unlock()
	return c.counts.n[name]
}

// WriteMetrics writes counters, version and fuse in Prometheus' text format.
func (c *Card) WriteMetrics(w io.Writer) error {
	names := slices.Clone(all)
	slices.Sort(names)
	for _, name := range names {
		if _, err := fmt.Fprintf(w, "# TYPE %s counter\n%s %d\n", name, name, c.Counted(name)); err != nil {
			return fmt.Errorf("card: %w", err)
		}
	}
	st := c.Status()
	trial := 0
	if st.Trial {
		trial = 1
	}
	_, err := fmt.Fprintf(w, "# TYPE dpmip_init_fuse gauge\ndpmip_init_fuse %d\n# TYPE dpmip_init_running gauge\ndpmip_init_running{slot=%q,release=%q,version=\"%d\"} 1\n"+
		"# TYPE dpmip_init_trial gauge\ndpmip_init_trial %d\n", st.Fuse, st.Slot, st.Release, st.Version, trial)
	if err != nil {
		return fmt.Errorf("card: %w", err)
	}
	return nil
}
