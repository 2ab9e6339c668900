package daemon

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"

	"github.com/dpmip/dpmip/agent"
	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/haltest"
	"github.com/dpmip/dpmip/internal/probe"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/offload"
)

// trapRig is the Traps of a device, with its worker.
type trapRig struct {
	*Traps
	t   *testing.T
	dev *haltest.Chaos
}

func newTraps(t *testing.T, p haltest.Plan) *trapRig {
	dev := haltest.NewChaos(p)
	w := NewWorker(&agent.Hands{Device: dev, Reconciler: offload.NewReconciler(offload.ReconcilerConfig{Device: dev})}, mobility.MAC{}, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	var tasks sync.WaitGroup
	tasks.Go(func() { _ = w.Run(ctx) })
	t.Cleanup(func() { cancel(); tasks.Wait() })
	return &trapRig{NewTraps(w), t, dev}
}

// has is whether the device holds the trap, after all that was asked before.
func (r *trapRig) has() bool {
	r.t.Helper()
	var rules []hwabstraction.RuleStatus
	var err error
	r.worker.Call(context.Background(), func(ctx context.Context, _ *agent.Hands) { rules, err = r.dev.Rules(ctx) })
	if err != nil || len(rules) > 1 {
		r.t.Fatalf("%v, %v", rules, err)
	}
	if len(rules) == 0 {
		return false
	}
	if x, ok := rules[0].Rule.(hwabstraction.Trap); !ok || x.Address != d6 || x.Protocol != probe.Protocol || x.DstPort != probe.Port {
		r.t.Errorf("the device holds %v", rules[0].Rule)
	}
	return true
}

func TestTraps(t *testing.T) {
	t.Parallel()
	r := newTraps(t, haltest.Plan{})
	for range 2 {
		if err := r.Catch(t.Context(), d6); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []bool{true, true, false} {
		if i > 0 {
			r.Release(d6)
		}
		if got := r.has(); got != want {
			t.Errorf("two users, %d of them gone: a trap is there: %v", i, got)
		}
	}
}

// TestAbandonedTrap: a catch that nobody waits for any more leaves nothing.
func TestAbandonedTrap(t *testing.T) {
	t.Parallel()
	r := newTraps(t, haltest.Plan{})
	ctx, cancel := context.WithCancel(t.Context())
	busy := make(chan struct{})
	r.worker.add(job{call: func(context.Context, *agent.Hands) { <-busy }})
	cancel()
	if err := r.Catch(ctx, d6); !errors.Is(err, context.Canceled) {
		t.Errorf("an abandoned catch: %v", err)
	}
	close(busy)
	if r.has() {
		t.Error("its trap stays")
	}
}

func TestTrapThatFails(t *testing.T) {
	t.Parallel()
	r := newTraps(t, haltest.Plan{Faults: []haltest.Fault{{Apply: 1, Err: hwabstraction.ErrTableFull}}})
	if err := r.Catch(t.Context(), d6); !errors.Is(err, hwabstraction.ErrTableFull) {
		t.Fatalf("a full table: %v", err)
	}
	if r.has() {
		t.Error("the trap is there all the same")
	}
	if err := r.Catch(t.Context(), d6); err != nil || !r.has() {
		t.Errorf("with room again: %v", err)
	}
	if (newTraps(t, haltest.Plan{Missing: []hwabstraction.Feature{hwabstraction.FeatureTrap}})).Traps != nil {
		t.Error("traps of a device that has none")
	}
}
