package offload

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/dpmip/dpmip/hwabstraction"
)

// learn takes what was read from the device as what it holds, and marks every
// owner whose rules are not as they should be.
func (r *Reconciler) learn(rules []hwabstraction.RuleStatus) {
	before := r.actual
	r.actual, r.held = make(Actual, len(rules)), map[[16]byte]map[hwabstraction.RuleID]bool{}
	clear(r.placed)
	for _, x := range rules {
		id, s := x.Rule.ID(), x.Rule.Stamped()
		w := r.wanted[id]
		if w == x.Rule && nowhere(x) {
			continue // as if the device did not hold it: it is put again
		}
		r.set(x.Rule, x.Placement)
		switch {
		case w == x.Rule:
			r.applied(w, x.Placement)
		case w != nil:
			r.dirty[w.Stamped().Owner] = true
		}
		if w == nil && r.claims.stale(x.Rule) {
			r.dirty[s.Owner] = true
		}
		if k, ok := r.keep[s]; ok && !x.On && (k.Armed && id.Kind == hwabstraction.KindRedirect || k.Active && id.Kind == hwabstraction.KindDeliver) {
			r.loose[s] = true
		}
	}
	for id, w := range r.wanted {
		if r.actual[id] == nil {
			r.dirty[w.Stamped().Owner] = true
			if before[id] != nil {
				r.note(id, &Status{Rule: w, State: StatePending})
			}
		}
	}
	for id, st := range r.status {
		if st.State == StateRemoving && r.actual[id] != st.Rule {
			r.removed(id)
		}
		if st.State == StateOvertaken && !overtaken(st.Rule, r.actual[id]) {
			r.note(id, &Status{Rule: st.Rule, State: StatePending, Tries: st.Tries})
		}
	}
}

// nowhere reports whether the device has the rule and cannot find it by its
// address. (That a port is gone makes an Egress idle, not lost.)
func nowhere(x hwabstraction.RuleStatus) bool {
	k := x.Rule.ID().Kind
	return x.Placement == hwabstraction.PlacementNone && (k == hwabstraction.KindRedirect || k == hwabstraction.KindDeliver)
}

// set records that the device holds a rule.
func (r *Reconciler) set(x hwabstraction.Rule, p hwabstraction.Placement) {
	r.unset(x.ID())
	o := x.Stamped().Owner
	if r.held[o] == nil {
		r.held[o] = map[hwabstraction.RuleID]bool{}
	}
	r.held[o][x.ID()] = true
	r.actual[x.ID()], r.placed[x.ID()] = x, p
}

func (r *Reconciler) unset(id hwabstraction.RuleID) {
	if a := r.actual[id]; a != nil {
		delete(r.held[a.Stamped().Owner], id)
		delete(r.actual, id)
		delete(r.placed, id)
	}
}

// note records a status and that it is to be told.
func (r *Reconciler) note(id hwabstraction.RuleID, st *Status) {
	r.status[id] = st
	r.told[id] = true
	delete(r.waiting, id)
	if !st.Next.IsZero() {
		r.waiting[id] = st
	}
}

func (r *Reconciler) applied(x hwabstraction.Rule, p hwabstraction.Placement) {
	id := x.ID()
	if st := r.status[id]; st != nil && st.State == StateApplied && st.Rule == x && st.Placement == p {
		return
	}
	r.note(id, &Status{Rule: x, State: StateApplied, Placement: p})
}

func (r *Reconciler) removed(id hwabstraction.RuleID) {
	if st := r.status[id]; st != nil && r.wanted[id] == nil {
		r.note(id, &Status{Rule: st.Rule, State: StateRemoved})
	}
}

// readBack is the full resynchronisation.
func (r *Reconciler) readBack(ctx context.Context) {
	rules, err := r.c.Device.Rules(ctx)
	if err != nil {
		r.fails++
		r.resync = r.c.Now().Add(r.backoff(r.fails))
		return
	}
	r.read(rules)
}

// read takes a full reading of the device.
func (r *Reconciler) read(rules []hwabstraction.RuleStatus) {
	r.fails = 0
	r.resync = r.c.Now().Add(r.jitter(r.c.Resync))
	r.learn(rules)
}

// work compares the owners that are due and makes the changes: puts, once more
// those that found the table full if deletes have made room, then the deletes.
func (r *Reconciler) work(ctx context.Context) {
	now := r.c.Now()
	for id, st := range r.waiting {
		if !now.Before(st.Next) {
			r.dirty[st.Rule.Stamped().Owner] = true
			if a := r.actual[id]; a != nil {
				r.dirty[a.Stamped().Owner] = true
			}
		}
	}
	owners := slices.SortedFunc(maps.Keys(r.dirty), func(a, b [16]byte) int { return bytes.Compare(a[:], b[:]) })
	clear(r.dirty)
	var puts []hwabstraction.Change
	for _, o := range owners {
		puts = append(puts, r.puts(o, now)...)
	}
	full := r.apply(ctx, puts)
	if r.clear(ctx, owners, now) && len(full) > 0 {
		r.apply(ctx, full)
	}
	for _, o := range owners {
		r.end(o)
	}
}

// tiers bounds how many epochs of one owner's rules stand at one address.
const tiers = 4

// clear makes the owners' deletes, and reports whether there were any. At one
// address the lower epoch goes first: were the higher one gone and the lower one
// refused to go, it would act once more.
func (r *Reconciler) clear(ctx context.Context, owners [][16]byte, now time.Time) bool {
	tried := map[hwabstraction.RuleID]bool{}
	for range tiers {
		var deletes []hwabstraction.Change
		for _, o := range owners {
			for _, ch := range r.deletes(o, now) {
				if !tried[ch.ID] {
					tried[ch.ID] = true
					deletes = append(deletes, ch)
				}
			}
		}
		if len(deletes) == 0 {
			break
		}
		r.apply(ctx, deletes)
	}
	return len(tried) > 0
}

// lowest gives the lowest epoch that an owner has and should not, by address.
func (r *Reconciler) lowest(owner [16]byte) map[netip.Prefix]uint32 {
	out := map[netip.Prefix]uint32{}
	for id := range r.held[owner] {
		if a := r.actual[id]; r.wanted[id] == nil && r.claims.stale(a) {
			if e, ok := out[id.Prefix]; !ok || a.Stamped().Epoch < e {
				out[id.Prefix] = a.Stamped().Epoch
			}
		}
	}
	return out
}

// puts are the changes that make an owner's desired rules be, as far as they
// may be tried now.
func (r *Reconciler) puts(owner [16]byte, now time.Time) []hwabstraction.Change {
	var out []hwabstraction.Change
	for _, x := range r.desired[owner] {
		st := r.status[x.ID()]
		if st.State == StateRefused || st.State == StateOvertaken || now.Before(st.Next) {
			continue
		}
		id := x.ID()
		a := r.actual[id]
		if a == x && nowhere(hwabstraction.RuleStatus{Rule: x, Placement: r.placed[id]}) { // it was read before it was desired
			r.unset(id)
			a = nil
		}
		changes := placing(x, a, r.claims)
		switch {
		case a == x: // desired again before it was removed
			r.applied(x, r.placed[id])
		case len(changes) == 0:
			r.note(id, &Status{Rule: x, State: StateOvertaken, Err: hwabstraction.ErrStale})
		}
		out = append(out, changes...)
	}
	return out
}

// deletes are what an owner holds and should not, at each address of the lowest
// epoch only. What stands at an address where a put has failed stays until that
// has succeeded, so that nothing breaks before its successor is made; but not
// where the table stays full.
func (r *Reconciler) deletes(owner [16]byte, now time.Time) []hwabstraction.Change {
	unmade := map[string]bool{}
	for _, x := range r.desired[owner] {
		st := r.status[x.ID()]
		if st.State == StatePending || st.State == StateFailed && (st.Tries < 2 || !errors.Is(st.Err, hwabstraction.ErrTableFull)) {
			unmade[x.ID().Prefix.String()] = true
		}
	}
	var gone []hwabstraction.Rule
	lowest := r.lowest(owner)
	for id := range r.held[owner] {
		a := r.actual[id]
		if r.wanted[id] != nil || !r.claims.stale(a) {
			continue
		}
		st := r.status[id]
		if st == nil || st.State != StateRemoving || st.Rule != a {
			st = &Status{Rule: a, State: StateRemoving}
			r.note(id, st)
		}
		if now.Before(st.Next) || a.Stamped().Epoch > lowest[id.Prefix] {
			continue
		}
		if unmade[id.Prefix.String()] {
			st.Next = r.c.Now().Add(r.c.BackoffMin)
			r.waiting[id] = st
			continue
		}
		gone = append(gone, a)
	}
	return removals(gone)
}

// end forgets an owner that desires nothing and has nothing left.
func (r *Reconciler) end(owner [16]byte) {
	if len(r.desired[owner]) == 0 && len(r.held[owner]) == 0 {
		delete(r.desired, owner)
		delete(r.held, owner)
		delete(r.claims, owner)
	}
}

// apply sends changes in batches and takes the results. It returns the puts
// that found the table full.
func (r *Reconciler) apply(ctx context.Context, changes []hwabstraction.Change) (full []hwabstraction.Change) {
	for batch := range slices.Chunk(changes, r.c.Batch) {
		if ctx.Err() != nil {
			r.postpone(batch)
			continue
		}
		for i, res := range r.c.Device.Apply(ctx, batch) {
			r.result(ctx, batch[i], res)
			if errors.Is(res.Err, hwabstraction.ErrTableFull) && !batch[i].Delete {
				full = append(full, batch[i])
			}
		}
	}
	return full
}

// postpone leaves changes due that the context has cut off.
func (r *Reconciler) postpone(changes []hwabstraction.Change) {
	for _, ch := range changes {
		if ch.Delete {
			r.dirty[ch.Stamp.Owner] = true
		} else {
			r.dirty[ch.Rule.Stamped().Owner] = true
		}
	}
}

// result takes the answer to one change.
func (r *Reconciler) result(ctx context.Context, ch hwabstraction.Change, res hwabstraction.Result) {
	id := ch.Target()
	switch {
	case res.Err == nil && ch.Delete:
		r.unset(id)
		r.removed(id)
	case res.Err == nil:
		r.set(ch.Rule, res.Placement)
		r.applied(ch.Rule, res.Placement)
		if _, ok := r.keep[ch.Rule.Stamped()]; ok {
			r.loose[ch.Rule.Stamped()] = true
		}
	case ctx.Err() != nil && errors.Is(res.Err, ctx.Err()):
		r.postpone([]hwabstraction.Change{ch})
	default:
		r.failed(ch, res.Err)
	}
}

// failed records a failure and when to try again, if at all.
func (r *Reconciler) failed(ch hwabstraction.Change, err error) {
	id := ch.Target()
	st := &Status{Rule: ch.Rule, State: StateFailed, Err: err}
	if ch.Delete {
		st.Rule, st.State = r.actual[id], StateRemoving
		if st.Rule == nil || r.wanted[id] != nil {
			return // the put that follows it decides
		}
	}
	if last := r.status[id]; last != nil && last.Rule == st.Rule {
		st.Tries = last.Tries
	}
	st.Tries++
	switch {
	case errors.Is(err, hwabstraction.ErrStale):
		st.State = StateOvertaken
		if st.Tries == 1 {
			r.resync = r.c.Now() // what has overtaken it is not known yet
		}
	case !retryable(err) && !ch.Delete:
		st.State = StateRefused
	default:
		st.Next = r.c.Now().Add(r.backoff(st.Tries))
	}
	r.note(id, st)
}

// backoff doubles from BackoffMin to BackoffMax.
func (r *Reconciler) backoff(tries int) time.Duration {
	d := r.c.BackoffMax
	if tries < 30 {
		d = min(d, r.c.BackoffMin<<(tries-1))
	}
	return r.jitter(d)
}

// jitter shortens a time by up to a fifth.
func (r *Reconciler) jitter(d time.Duration) time.Duration {
	return d - time.Duration(r.c.Random()*float64(d)/5)
}

// switchGroups switches groups that are not as they should stay.
func (r *Reconciler) switchGroups() {
	for s := range r.loose {
		delete(r.loose, s)
		k := r.keep[s]
		// An error means that the group is gone or the device closed; the next
		// resynchronisation finds what there is.
		if k.Armed {
			_ = r.c.Device.Arm(s)
		}
		if k.Active {
			_ = r.c.Device.Activate(s)
		}
	}
}
