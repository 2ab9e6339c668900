package switchdev

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/flower"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/tc"
)

// change is one step from the filters that a unit has to those it should have.
type change struct {
	op     tc.Op
	filter wanted
	counts bool // what stands there now has counted for rules

	old  wanted        // what stands there now, where it has counted
	last flower.Status // and what it has counted in the end
}

// differ gives the steps in the order in which they are safe: entries go first
// and come last, and what leads to the slow path comes before and goes after
// what forwards.
func (l *ledger) differ(u *unit, want []wanted) []change {
	have := l.units[u.key]
	wants := make(map[matchKey]bool, len(want))
	var out []change
	for _, w := range want {
		l.handle(u.key, &w.Filter)
		k := keyOf(w.Filter)
		wants[k] = true
		switch old, ok := have[k]; {
		case !ok:
			out = append(out, change{op: tc.Put, filter: w})
		case !old.same(w.Filter), u.offer:
			out = append(out, change{op: tc.Replace, filter: w, counts: len(old.count) > 0})
		case old.found != nil: // its cookie says that it counts for these
			have[k] = w
		}
	}
	for k, w := range have {
		if !wants[k] && k.priority != gatePriority {
			out = append(out, change{op: tc.Delete, filter: w, counts: len(w.count) > 0})
		}
	}
	slices.SortStableFunc(out, func(a, b change) int { return cmp.Compare(a.turn(), b.turn()) })
	return out
}

// turn orders changes.
func (c change) turn() int {
	entry := c.filter.Chain == entryChain
	rule := !entry && (c.filter.Priority == rulePriority || c.filter.Priority == rulePriority+1)
	switch gone := c.op == tc.Delete; {
	case gone && entry:
		return 0
	case !gone && !entry && !rule:
		return 1
	case gone && rule:
		return 2
	case !gone && rule:
		return 3
	case gone:
		return 4
	}
	return 5
}

// stages cuts ordered changes where all before must have succeeded: nothing that
// forwards is put where what leads to the slow path was refused, and no entry
// leads to rules that were.
func stages(changes []change) [][]change {
	safe := slices.IndexFunc(changes, func(c change) bool { return c.turn() > 1 })
	if safe < 0 {
		safe = len(changes)
	}
	rules := slices.IndexFunc(changes, func(c change) bool { return c.turn() > 4 })
	if rules < 0 {
		rules = len(changes)
	}
	return [][]change{changes[:safe], changes[safe:rules], changes[rules:]}
}

// reconcile gives a unit the filters that it should have. It steps down the
// ladder until the kernel takes them. Caller holds mu.
func (d *Device) reconcile(ctx context.Context, u *unit, now time.Time) (waits bool) {
	for {
		want, w := d.want(u, now)
		err := d.become(ctx, u, want)
		u.offer = false
		if err == nil {
			return w
		}
		if ctx.Err() != nil || errors.Is(err, hwabstraction.ErrPortGone) || errors.Is(err, tc.ErrDetached) {
			return true // a port that is gone has been noted: what is wanted is another thing now
		}
		d.step(u, err, now)
		if d.ladder[u.rung].off {
			if err := d.become(ctx, u, nil); err != nil {
				d.cfg.Log.Error("filters cannot be removed", "unit", u.key, "err", err)
			}
			return false
		}
	}
}

// step goes one rung down.
func (d *Device) step(u *unit, why error, now time.Time) {
	if d.ladder[u.rung].off {
		return
	}
	from := d.ladder[u.rung].name
	u.rung++
	u.reason = why
	u.climbAt = now.Add(min(d.cfg.Climb<<min(u.climbs, 10), 20*d.cfg.Climb))
	d.figures.StepsDown++
	d.cfg.Log.Info("stepped down", "unit", u.key, "from", from, "to", d.ladder[u.rung].name, "err", why)
}

// become makes the unit's filters those that are wanted, and opens its gate if
// there are any.
func (d *Device) become(ctx context.Context, u *unit, want []wanted) error {
	changes := d.ledger.differ(u, want)
	if slices.ContainsFunc(changes, func(c change) bool { return c.counts }) {
		if err := d.withdraw(u); err != nil {
			return err
		}
		d.lastCounts(ctx, u, changes)
	}
	if err := d.attach(changes); err != nil {
		return err
	}
	for _, stage := range stages(changes) {
		if err := d.carryOut(ctx, u, stage); err != nil {
			return err
		}
	}
	if err := d.inHardware(ctx, u, want); err != nil {
		return err
	}
	return d.open(ctx, u)
}

// attach sees to it that the ports of puts take filters.
func (d *Device) attach(changes []change) error {
	for _, c := range changes {
		if c.op == tc.Delete || d.ready[c.filter.Port] {
			continue
		}
		if err := d.cfg.Table.Attach(c.filter.Port); err != nil {
			if errors.Is(err, hwabstraction.ErrPortGone) {
				d.gone(c.filter.Port)
			}
			return err
		}
		d.ready[c.filter.Port] = true
	}
	return nil
}

// carryOut applies changes and notes what came of them. A port that is gone
// takes its filters with it.
func (d *Device) carryOut(ctx context.Context, u *unit, changes []change) error {
	if len(changes) == 0 {
		return nil
	}
	requests := make([]tc.Request, len(changes))
	for i, c := range changes {
		requests[i] = tc.Request{Op: c.op, Filter: c.filter.Filter}
	}
	var failed error
	missing, bare := map[int32]bool{}, map[int32]bool{}
	for i, err := range d.cfg.Table.Apply(ctx, requests) {
		f := changes[i].filter
		if err == nil {
			d.carry(changes[i].old, changes[i].last)
		}
		switch {
		case errors.Is(err, hwabstraction.ErrPortGone):
			failed, missing[whichGone(err, f.Port)] = errors.Join(failed, err), true
		case errors.Is(err, tc.ErrDetached): // and with the qdisc all that was there
			failed, bare[f.Port] = errors.Join(failed, err), true
		case err != nil:
			failed = errors.Join(failed, err)
		case changes[i].op == tc.Delete:
			d.ledger.remove(u.key, f.Filter)
		default:
			d.ledger.put(u.key, f)
		}
	}
	for port := range missing {
		d.gone(port)
	}
	for port := range bare {
		d.bare(port)
	}
	return failed
}

// whichGone is the port that ErrPortGone is about: the filter's own, unless it is
// one that the filter redirects to. That one has no filters of the others here.
func whichGone(err error, own int32) int32 {
	var e *tc.Error
	if errors.As(err, &e) && e.Gone != 0 {
		return e.Gone
	}
	return own
}

// open lets packets into the unit's chain: the gate goes, last of all, also
// where it was all that was left.
func (d *Device) open(ctx context.Context, u *unit) error {
	var changes []change
	for k, w := range d.ledger.units[u.key] {
		if k.priority == gatePriority && k.chain != entryChain {
			changes = append(changes, change{op: tc.Delete, filter: w})
		}
	}
	return d.carryOut(ctx, u, changes)
}

// errInSoftware is why a rung of hardware was not enough.
var errInSoftware = errors.New("switchdev: the driver has not taken it")

// inHardware checks that hardware has what the rung asks it to have.
func (d *Device) inHardware(ctx context.Context, u *unit, want []wanted) error {
	if !d.ladder[u.rung].hardware || len(want) == 0 {
		return nil
	}
	found, err := d.read(ctx, u.key, func(wanted) bool { return true })
	if err != nil {
		return err
	}
	for _, w := range want {
		d.ledger.handle(u.key, &w.Filter)
		if s, ok := found[placeOf(w.Filter)]; !ok || !s.Offloaded() {
			return fmt.Errorf("%w: %w", hwabstraction.ErrNotSupported, errInSoftware)
		}
	}
	return nil
}

func counts(w wanted) bool { return len(w.count) > 0 }

// read reads the chains of a unit's chosen filters from the kernel.
func (d *Device) read(ctx context.Context, unit unitKey, chosen func(wanted) bool) (map[place]flower.Status, error) {
	out := map[place]flower.Status{}
	chains := map[[2]uint32]bool{}
	for k, w := range d.ledger.units[unit] {
		at := [2]uint32{uint32(k.port), k.chain}
		if chains[at] || !chosen(w) {
			continue
		}
		chains[at] = true
		found, err := d.cfg.Table.ListChain(ctx, k.port, k.chain)
		if err != nil {
			return nil, err
		}
		for _, s := range found {
			out[placeOf(s.Filter)] = s
		}
	}
	return out, nil
}

// lastCounts reads what filters have counted that are about to go. Their gate is
// closed: it is final.
func (d *Device) lastCounts(ctx context.Context, u *unit, changes []change) {
	found, err := d.read(ctx, u.key, counts)
	if err != nil {
		d.cfg.Log.Warn("what filters have counted is lost", "unit", u.key, "err", err)
		return
	}
	for i, c := range changes {
		if c.counts {
			changes[i].old = d.ledger.units[u.key][keyOf(c.filter.Filter)]
			changes[i].last = found[placeOf(changes[i].old.Filter)]
		}
	}
}

// carry notes what a filter has counted that is gone now.
func (d *Device) carry(w wanted, s flower.Status) {
	if s.Packets == 0 {
		return
	}
	if first := d.model.rules[w.count[0]]; first != nil {
		o := owner(first.Stamped().Owner)
		was := d.taken[o]
		d.taken[o] = passed{was.fast + s.Packets, was.hardware + s.HWPackets}
	}
	for _, id := range w.count {
		if d.model.rules[id] != nil {
			d.carried[id] = sum(d.carried[id], counted(s))
		}
	}
}

// counted is what a filter has counted, Ethernet headers included. Hardware
// counts them, the kernel does not.
func counted(s flower.Status) hwabstraction.Counter {
	if s.Packets == 0 {
		return hwabstraction.Counter{}
	}
	const ethernet = 14
	headers := (s.Packets - min(s.HWPackets, s.Packets)) * ethernet
	return hwabstraction.Counter{Packets: s.Packets, Bytes: s.Bytes + headers, LastUse: time.Now().Add(-s.Idle)}
}

func sum(a, b hwabstraction.Counter) hwabstraction.Counter {
	c := hwabstraction.Counter{Packets: a.Packets + b.Packets, Bytes: a.Bytes + b.Bytes, LastUse: a.LastUse}
	if b.LastUse.After(c.LastUse) {
		c.LastUse = b.LastUse
	}
	return c
}
