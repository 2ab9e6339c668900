package scenario

import (
	"context"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/testbed/clock"
)

const nameAbort = "abort"

// Stages of an abort beyond those of a move.
const (
	stageAborting = "abort"
	stageAborted  = "aborted"
)

// abortSteps is a move that is prepared and released, whose VM then goes on at
// the source.
var abortSteps = []step{
	{"prepare", (*run).prepare}, {"release", (*run).release}, {"back", (*run).goBack}, {"abort", (*run).abort},
}

// Abort brings a data centre up and, o.Moves times, prepares and releases a
// move that then does not take place: the VM goes on where it was and the move
// is aborted. Nothing may be lost; what was held may come late.
func Abort(ctx context.Context, o Options) (*Report, error) {
	o.steps, o.scenario = abortSteps, nameAbort
	return mayBeLate(HotMove(ctx, o))
}

// AbortIn is Abort in a data centre that is up.
func AbortIn(ctx context.Context, dc *DataCentre, o Options) (*Report, error) {
	o.steps, o.scenario = abortSteps, nameAbort
	return mayBeLate(HotMoveIn(ctx, dc, o))
}

// mayBeLate takes reordering out of a verdict.
func mayBeLate(rep *Report, err error) (*Report, error) {
	if err != nil {
		return nil, err
	}
	// What was held comes after what was sent once the source had disarmed.
	var kept []string
	for _, p := range rep.Problems {
		if !strings.HasSuffix(p, "datagrams reordered") {
			kept = append(kept, p)
		}
	}
	rep.Problems = kept
	return rep, nil
}

// goBack stands in for an orchestrator whose switch has failed: the VM is
// paused, and goes on where it was.
func (r *run) goBack(ctx context.Context, m *move) error {
	if err := r.dc.Lab.Switch.Disconnect(mover); err != nil {
		return err
	}
	stopped := clock.Now()
	if err := r.stage(ctx, m, stagePaused); err != nil {
		return err
	}
	clock.SleepUntil(stopped + r.o.Pause)
	if err := r.dc.Lab.Switch.Connect(mover, m.from); err != nil {
		return err
	}
	return r.stage(ctx, m, stageResumed)
}

// abort asks for the abort, waits for it and lets the traffic run on.
func (r *run) abort(ctx context.Context, m *move) error {
	if err := r.stage(ctx, m, stageAborting); err != nil {
		return err
	}
	// The source forgets the counters with the redirect.
	if err := r.countRedirect(ctx, m); err != nil {
		return err
	}
	res, err := r.dc.Mgmt.AbortMove(ctx, connect.NewRequest(&v1.AbortMoveRequest{Vm: m.id, Epoch: m.epoch, WaitNs: int64(r.o.slow(patience))}))
	if err != nil {
		return fmt.Errorf("scenario: abort epoch %d of %s: %w", m.epoch, m.id, err)
	}
	if s := res.Msg.Move.State; s != "aborted" {
		return fmt.Errorf("scenario: abort epoch %d of %s: the move is %s: %s", m.epoch, m.id, s, res.Msg.Move.Error)
	}
	if err := r.stage(ctx, m, stageAborted); err != nil {
		return err
	}
	clock.SleepUntil(clock.Now() + max(r.o.Settle, 200*time.Millisecond))
	return nil
}
