package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/offload"
)

// errUnsettled: the device still holds what it should not.
var errUnsettled = errors.New("rules not all removed")

// Hands carries the device effects out. All methods but Switch are for one
// goroutine, and take as long as the device does; Switch may be called beside
// them, and takes microseconds.
type Hands struct {
	Device     hwabstraction.Device
	Flows      hwabstraction.FlowSource // nil: the device has none to tell
	Reconciler *offload.Reconciler
	// KeepForeign leaves rules of unknown owners alone when the Core adopts.
	KeepForeign bool

	kept map[[16]byte][]hwabstraction.Stamp // switched groups, by owner
}

// Do carries out the effects, in order, and gives the Results of those with a
// Ref. Rules of neighbouring Apply effects go to the device together. Effects
// that are none of the device's are ignored.
func (h *Hands) Do(ctx context.Context, effects []Effect) []Result {
	var out []Result
	for i := 0; i < len(effects); i++ {
		n := i
		for n < len(effects) && isApply(effects[n]) {
			n++
		}
		if n > i {
			out = h.apply(ctx, effects[i:n], out)
			i = n - 1
			continue
		}
		if ref, r := h.one(ctx, effects[i]); ref != 0 {
			r.Ref = ref
			out = append(out, r)
		}
	}
	return out
}

func isApply(e Effect) bool { _, ok := e.(Apply); return ok }

func (h *Hands) apply(ctx context.Context, list []Effect, out []Result) []Result {
	errs := make([]error, len(list))
	for i, e := range list {
		a := e.(Apply)
		if a.Verify {
			h.Reconciler.Doubt()
		}
		if len(a.Rules) == 0 {
			h.letGo(a.UpTo.Owner)
		}
		errs[i] = h.Reconciler.SetDesired(a.UpTo, a.Rules)
	}
	h.Reconciler.Sync(ctx)
	for i, e := range list {
		a := e.(Apply)
		if a.Ref == 0 {
			continue
		}
		if errs[i] == nil {
			errs[i] = h.outcome(a)
		}
		out = append(out, Result{Ref: a.Ref, Err: errs[i]})
	}
	return out
}

// outcome finds the first rule that the device does not hold.
func (h *Hands) outcome(a Apply) error {
	for _, r := range a.Rules {
		st, ok := h.Reconciler.Status(r.ID())
		switch {
		case !ok || st.Rule != r:
			return fmt.Errorf("agent: %s: taken over by another VM", r.ID())
		case st.State != offload.StateApplied:
			err := st.Err
			if err == nil {
				err = errors.New(st.State.String())
			}
			return fmt.Errorf("agent: %s: %w", r.ID(), err)
		}
	}
	if !h.Reconciler.Settled(a.UpTo.Owner) {
		return errUnsettled
	}
	return nil
}

func (h *Hands) one(ctx context.Context, e Effect) (Ref, Result) {
	switch e := e.(type) {
	case Adopt:
		h.adopt(ctx)
	case HoldLimit:
		if e.Limit != (hwabstraction.HoldLimit{}) {
			return 0, Result{Err: h.Device.SetHoldLimit(e.Stamp, e.Limit)}
		}
	case Switch:
		h.Note(e)
		return e.Ref, h.Switch(e)
	case GiveBack:
		h.keep(e.Stamp, offload.Switch{})
		return e.Ref, Result{Err: h.Device.GiveBack(ctx, e.Stamp)}
	case SnapshotFlows:
		n, err := h.snapshot(ctx, e)
		return e.Ref, Result{N: n, Err: err}
	case ReadCounters:
		c, err := h.Device.Counters(ctx, e.IDs)
		return e.Ref, Result{Counters: c, Err: err, Placement: h.placement(e.IDs)}
	case ReadGroup:
		g, err := h.Device.Group(e.Stamp)
		return e.Ref, Result{Group: g, Err: err}
	}
	return 0, Result{}
}

// adopt removes the rules of owners that no record names: they are what a VM
// left behind whose record was dropped while a process died.
func (h *Hands) adopt(ctx context.Context) {
	if h.KeepForeign {
		return
	}
	up := make(map[[16]byte]uint32)
	for _, r := range h.Reconciler.Foreign() {
		s := r.Stamped()
		up[s.Owner] = max(up[s.Owner], s.Epoch)
	}
	for owner, epoch := range up {
		// Nobody has claimed it before, so that no lower epoch can be meant.
		_ = h.Reconciler.SetDesired(hwabstraction.Stamp{Owner: owner, Epoch: epoch}, nil)
	}
	if len(up) > 0 {
		h.Reconciler.Sync(ctx)
	}
}

// placement is the lowest of several rules: what the worst of them gets.
func (h *Hands) placement(ids []hwabstraction.RuleID) (low hwabstraction.Placement) {
	for i, id := range ids {
		st, _ := h.Reconciler.Status(id)
		if i == 0 || st.Placement < low {
			low = st.Placement
		}
	}
	return low
}

func (h *Hands) snapshot(ctx context.Context, e SnapshotFlows) (int, error) {
	if h.Flows == nil {
		return 0, hwabstraction.ErrNotSupported
	}
	flows, err := h.Flows.Flows(ctx, e.Addrs)
	if err != nil {
		return 0, fmt.Errorf("agent: flows of %v: %w", e.Addrs, err)
	}
	n, err := h.Device.LoadFlows(ctx, e.Stamp, flows)
	if errors.Is(err, hwabstraction.ErrTableFull) { // the rest is redirected and counted
		err = nil
	}
	return n, err
}

// Switch switches a group, from any goroutine. Note belongs to it, on the
// goroutine of Do: for an Arm or Activate it may follow, for a Disarm it must
// come before, or a resynchronisation in between would arm again. (A Disarm
// given to Do does both.)
func (h *Hands) Switch(e Switch) Result {
	start := time.Now()
	var err error
	switch e.Op {
	case OpArm:
		err = h.Device.Arm(e.Stamp)
	case OpDisarm:
		err = h.Device.Disarm(e.Stamp)
	case OpActivate:
		err = h.Device.Activate(e.Stamp)
	}
	end := time.Now()
	return Result{Ref: e.Ref, Err: err, At: end, Took: end.Sub(start)}
}

// Note tells the reconciler how a group is to stay switched, so that rules put
// again after a loss act again.
func (h *Hands) Note(e Switch) {
	switch e.Op {
	case OpArm:
		h.keep(e.Stamp, offload.Switch{Armed: true})
	case OpActivate:
		h.keep(e.Stamp, offload.Switch{Active: true})
	case OpDisarm:
		h.keep(e.Stamp, offload.Switch{})
	}
}

func (h *Hands) keep(s hwabstraction.Stamp, w offload.Switch) {
	if h.kept == nil {
		h.kept = make(map[[16]byte][]hwabstraction.Stamp)
	}
	if !slices.Contains(h.kept[s.Owner], s) {
		h.kept[s.Owner] = append(h.kept[s.Owner], s)
	}
	h.Reconciler.Keep(s, w)
}

// letGo forgets how the groups of an owner were switched.
func (h *Hands) letGo(owner [16]byte) {
	for _, s := range h.kept[owner] {
		h.Reconciler.Keep(s, offload.Switch{})
	}
	delete(h.kept, owner)
}
