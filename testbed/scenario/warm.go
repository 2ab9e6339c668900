package scenario

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/dpmip/dpmip/testbed/result"
	"github.com/dpmip/dpmip/testbed/topology"
)

// nameWarm is a warm move: the VM stands still for seconds while its state is
// copied. What is sent to it meanwhile waits at the destination, up to the bounds
// of the hold; what comes on top is dropped there, and the receipt says how much.
const nameWarm = "warm"

// How long the VM of a warm move stands still, and at most: a hold's time and a
// prepared move's lifetime are longer.
const (
	warmPause    = 3 * time.Second
	warmPauseMax = 9 * time.Second
)

// Warm brings a data centre up and moves a VM that stands still for seconds.
func Warm(ctx context.Context, o Options) (*Report, error) { return HotMove(ctx, warm(o)) }

// WarmIn is Warm in a data centre that is up; the hold's bounds are those that it
// was started with.
func WarmIn(ctx context.Context, dc *DataCentre, o Options) (*Report, error) {
	return HotMoveIn(ctx, dc, warm(o))
}

func warm(o Options) Options {
	o.scenario, o.mode = nameWarm, "warm"
	o.Settle = max(o.Settle, awaySettle) // for TCP to send again what waited too long for it
	return o
}

// WarmDefaults is a move of both families whose held packets fit into a hold's
// default bounds.
func WarmDefaults() Options {
	o := Defaults()
	o.Family, o.Moves, o.PPS, o.Pause = "dual", 1, 200, warmPause
	return o
}

// holds gives every agent the run's bound for held packets; nil = its own.
func (o *Options) holds() map[string]string {
	if o.Hold == 0 {
		return nil
	}
	out := map[string]string{}
	for _, hv := range []string{topology.HVA, topology.HVB, topology.HVC} {
		out[hv] = fmt.Sprintf("[hold]\npackets = %d\n", o.Hold)
	}
	return out
}

// judgedWarm is what a warm move is judged by: what the hold at the destination
// had no room for is lost, and the receipt says so; more must not be. TCP waits
// as long as the VM stands still.
func (r *run) judgedWarm(all *result.Run) *result.Run {
	some := *all
	some.Moves = slices.Clone(all.Moves)
	for i, m := range r.moves {
		x := &some.Moves[i]
		fmt.Fprintf(r.o.Out, "%s: %d datagrams were lost; by the receipt the hold at %s had no room for %d packets\n", m, x.UDP.Lost, m.to, m.overflow)
		x.UDP.Lost -= min(x.UDP.Lost, m.overflow)
		x.TCP.Timeouts = 0
	}
	return &some
}
