package haltest

import (
	"context"
	"time"

	"github.com/dpmip/dpmip/hwabstraction"
)

// Plan says how a Chaos behaves. The zero Plan never fails.
type Plan struct {
	Backend  string   // what Capabilities reports; "" = "chaos"
	Ports    []string // the ports there are, the first one towards the fabric; nil = any name is a port
	MaxRules int      // the table is full at so many rules; 0 = never
	MaxFlows int      // flows one group takes; 0 = any number
	Missing  []hwabstraction.Feature

	// Seed starts the generator behind Chance; one seed gives one history.
	Seed   uint64
	Chance float64 // probability, per change, that it fails with ErrTableFull or ErrPortGone
	Lose   float64 // probability, per Apply, that another program deletes one rule behind the caller's back
	Faults []Fault // scripted, besides

	// Now is the device's clock; nil = time.Now.
	Now func() time.Time
	// Pause is how a slow device spends its time; nil waits by the clock or
	// until ctx ends, whose error it returns.
	Pause func(ctx context.Context, d time.Duration) error
}

// Fault is one scripted failure of Apply.
type Fault struct {
	Apply     int                     // the how manyth call of Apply, from 1; 0 = each
	From      int                     // the first change of the batch that is hit, from 0
	Count     int                     // how many changes are hit; 0 = the rest of the batch
	Kind      hwabstraction.Kind      // hits rules of this kind only; KindInvalid = all
	Err       error                   // what the changes hit fail with; nil = they succeed
	Placement hwabstraction.Placement // where the changes hit end up; PlacementNone = as usual
	Delay     time.Duration           // how long the call takes
	Lose      int                     // rules deleted behind the caller's back when the call is over
}

func (f Fault) hits(apply, index int, kind hwabstraction.Kind) bool {
	return f.calls(apply) && index >= f.From && (f.Count == 0 || index < f.From+f.Count) &&
		(f.Kind == hwabstraction.KindInvalid || f.Kind == kind)
}

func (f Fault) calls(apply int) bool { return f.Apply == 0 || f.Apply == apply }

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
