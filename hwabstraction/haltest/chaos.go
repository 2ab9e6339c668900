package haltest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/dpmip/dpmip/hwabstraction"
)

// Chaos is a Device in memory: it keeps the state of a device faithfully,
// forwards packets as one (see Send), and fails as its Plan says. It has no
// goroutine, and with a Plan that has a clock of its own it is deterministic.
// It may be used by several goroutines.
type Chaos struct {
	card    *card
	closed  atomic.Bool
	trapped chan hwabstraction.Trapped
}

var _ hwabstraction.Device = (*Chaos)(nil)

// NewChaos returns a device on a new card with empty tables.
func NewChaos(p Plan) *Chaos { return openChaos(newCard(p)) }

func openChaos(c *card) *Chaos {
	d := &Chaos{card: c, trapped: make(chan hwabstraction.Trapped, 256)}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trap = d.trapped
	return d
}

// Reopen returns a new device on the same card, as a new process would open
// it: every rule still acts. The present device is closed.
func (d *Chaos) Reopen() *Chaos {
	d.closed.Store(true)
	return openChaos(d.card)
}

// lock locks the card for a call on the device.
func (d *Chaos) lock() error {
	if d.closed.Load() {
		return hwabstraction.ErrClosed
	}
	d.card.mu.Lock()
	return nil
}

// Capabilities tells everything as present that the Plan does not take away.
func (d *Chaos) Capabilities() hwabstraction.Capabilities {
	c := d.card
	c.mu.Lock()
	defer c.mu.Unlock()
	out := hwabstraction.Capabilities{Backend: c.plan.Backend, MaxRules: c.plan.MaxRules, MaxFlows: c.plan.MaxFlows}
	if out.Backend == "" {
		out.Backend = "chaos"
	}
	for _, f := range []hwabstraction.Feature{
		hwabstraction.FeatureRedirect, hwabstraction.FeatureHold, hwabstraction.FeatureConntrack,
		hwabstraction.FeatureReject, hwabstraction.FeatureTrap,
	} {
		x := hwabstraction.Capability{Feature: f, Answer: hwabstraction.Yes, Reason: "simulated"}
		if slices.Contains(c.plan.Missing, f) {
			x = hwabstraction.Capability{Feature: f, Answer: hwabstraction.No, Reason: "taken away by the plan"}
		}
		out.Features = append(out.Features, x)
	}
	return out
}

// Apply carries out a batch, puts before deletes of other IDs, and fails where
// the plan says so. An error of ctx hits the changes not yet made.
func (d *Chaos) Apply(ctx context.Context, changes []hwabstraction.Change) []hwabstraction.Result {
	results := make([]hwabstraction.Result, len(changes))
	for i, ch := range changes {
		results[i].ID = ch.Target()
	}
	if err := d.lock(); err != nil {
		for i := range results {
			results[i].Err = err
		}
		return results
	}
	c := d.card
	c.calls++
	call := c.calls
	pause := c.delay(call)
	c.mu.Unlock()
	var err error
	if pause > 0 {
		err = c.plan.Pause(ctx, pause)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, i := range order(changes) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			results[i].Err = err
			continue
		}
		results[i].Placement, results[i].Err = c.apply(call, i, changes[i])
	}
	c.afterwards(call)
	return results
}

// order is the order of work: puts, then deletes, but what names one ID as it
// came.
func order(changes []hwabstraction.Change) []int {
	early := map[hwabstraction.RuleID]bool{} // IDs that are deleted before they are put
	put := map[hwabstraction.RuleID]bool{}
	for _, ch := range changes {
		if !ch.Delete {
			put[ch.Target()] = true
		}
	}
	for _, ch := range changes {
		if ch.Delete && put[ch.Target()] {
			early[ch.Target()] = true
		}
	}
	var first, last []int
	for i, ch := range changes {
		if ch.Delete && !early[ch.Target()] {
			last = append(last, i)
		} else {
			first = append(first, i)
		}
	}
	return append(first, last...)
}

func (c *card) delay(call int) (d time.Duration) {
	for _, f := range c.plan.Faults {
		if f.calls(call) {
			d += f.Delay
		}
	}
	return d
}

// apply makes one change, or fails as planned.
func (c *card) apply(call, index int, ch hwabstraction.Change) (hwabstraction.Placement, error) {
	at := hwabstraction.PlacementNone
	for _, f := range c.plan.Faults {
		if !f.hits(call, index, ch.Target().Kind) {
			continue
		}
		if f.Err != nil {
			return 0, fmt.Errorf("chaos: apply %d, change %d: %w", call, index, f.Err)
		}
		at = max(at, f.Placement)
	}
	if c.plan.Chance > 0 && c.rng.Float64() < c.plan.Chance {
		err := hwabstraction.ErrTableFull
		if ch.Delete || c.rng.IntN(2) == 0 {
			err = hwabstraction.ErrPortGone
		}
		return 0, fmt.Errorf("chaos: apply %d, change %d: %w", call, index, err)
	}
	if ch.Delete {
		c.remove(ch.ID, ch.Stamp)
		c.log = append(c.log, ch)
		return 0, nil
	}
	p, err := c.put(ch.Rule, at)
	if err != nil {
		return 0, fmt.Errorf("chaos: %s: %w", ch.Target(), err)
	}
	c.log = append(c.log, ch)
	return p, nil
}

func (c *card) afterwards(call int) {
	for _, f := range c.plan.Faults {
		if f.calls(call) {
			c.lose(f.Lose)
		}
	}
	if c.plan.Lose > 0 && c.rng.Float64() < c.plan.Lose {
		c.lose(1)
	}
}

// Rules reads every rule, ordered by kind and address.
func (d *Chaos) Rules(ctx context.Context) ([]hwabstraction.RuleStatus, error) {
	if err := d.lock(); err != nil {
		return nil, err
	}
	c := d.card
	defer c.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	out := make([]hwabstraction.RuleStatus, 0, len(c.rules))
	for _, id := range c.ids() {
		e := c.rules[id]
		out = append(out, hwabstraction.RuleStatus{Rule: e.rule, Placement: e.placement, On: c.on(e.rule)})
	}
	return out, nil
}

// inGroup runs f on the group of a stamp.
func (d *Chaos) inGroup(s hwabstraction.Stamp, f func(*group) error) error {
	if err := d.lock(); err != nil {
		return err
	}
	defer d.card.mu.Unlock()
	g := d.card.groups[s]
	if g == nil {
		return fmt.Errorf("chaos: %s: %w", s, hwabstraction.ErrNoGroup)
	}
	return f(g)
}

// Arm switches the group's redirects on.
func (d *Chaos) Arm(s hwabstraction.Stamp) error {
	return d.inGroup(s, func(g *group) error {
		if !g.Armed {
			g.Armed, g.ArmedAt, g.FirstHit = true, d.card.plan.Now(), time.Time{}
		}
		return nil
	})
}

// Disarm switches the group's redirects off.
func (d *Chaos) Disarm(s hwabstraction.Stamp) error {
	return d.inGroup(s, func(g *group) error { g.Armed = false; return nil })
}

// Activate switches the group's deliveries on and releases what is held.
func (d *Chaos) Activate(s hwabstraction.Stamp) error {
	return d.inGroup(s, func(g *group) error {
		if g.Returning {
			return fmt.Errorf("chaos: %s was given back: %w", s, hwabstraction.ErrStale)
		}
		g.Active = true
		d.card.release(g)
		return nil
	})
}

// GiveBack restores what is held and sends it into the fabric.
func (d *Chaos) GiveBack(ctx context.Context, s hwabstraction.Stamp) error {
	return d.inGroup(s, func(g *group) error {
		if g.Active {
			return nil // nothing is held
		}
		g.Returning = true
		d.card.release(g)
		return ctx.Err()
	})
}

// SetHoldLimit bounds the hold of a group that may not exist yet.
func (d *Chaos) SetHoldLimit(s hwabstraction.Stamp, l hwabstraction.HoldLimit) error {
	if l.Packets < 0 || l.Bytes < 0 || l.Time < 0 {
		return fmt.Errorf("chaos: negative hold limit: %w", hwabstraction.ErrInvalidRule)
	}
	if err := d.lock(); err != nil {
		return err
	}
	defer d.card.mu.Unlock()
	d.card.limits[s] = l
	return nil
}

// LoadFlows tells the group which flows are established.
func (d *Chaos) LoadFlows(ctx context.Context, s hwabstraction.Stamp, flows []hwabstraction.Flow) (n int, err error) {
	err = d.inGroup(s, func(g *group) error {
		for _, f := range flows {
			if err := ctx.Err(); err != nil {
				return err
			}
			k := tuple{f.Protocol, f.VM, f.Peer}
			if top := d.card.plan.MaxFlows; top > 0 && len(g.flows) >= top && !g.flows[k] {
				return fmt.Errorf("chaos: %d flows: %w", len(flows), hwabstraction.ErrTableFull)
			}
			g.flows[k] = true
			n++
		}
		return nil
	})
	return n, err
}

// Counters reads counters.
func (d *Chaos) Counters(ctx context.Context, ids []hwabstraction.RuleID) (map[hwabstraction.RuleID]hwabstraction.Counter, error) {
	if err := d.lock(); err != nil {
		return nil, err
	}
	defer d.card.mu.Unlock()
	out := map[hwabstraction.RuleID]hwabstraction.Counter{}
	for _, id := range ids {
		if e := d.card.rules[id]; e != nil {
			out[id] = e.counter
		}
	}
	return out, ctx.Err()
}

// Group reads a group's state.
func (d *Chaos) Group(s hwabstraction.Stamp) (st hwabstraction.GroupStatus, err error) {
	err = d.inGroup(s, func(g *group) error {
		st = g.GroupStatus
		st.HeldNow = uint64(len(g.held))
		return nil
	})
	return st, err
}

// Drops reads the drop counters.
func (d *Chaos) Drops(ctx context.Context) (hwabstraction.Drops, error) {
	if err := d.lock(); err != nil {
		return nil, err
	}
	defer d.card.mu.Unlock()
	return maps.Clone(d.card.drops), ctx.Err()
}

// Trapped is the stream of trapped packets; it holds 256.
func (d *Chaos) Trapped() <-chan hwabstraction.Trapped { return d.trapped }

// Transmit sends a frame; see Left.
func (d *Chaos) Transmit(port string, frame []byte) error {
	if err := d.lock(); err != nil {
		return err
	}
	defer d.card.mu.Unlock()
	if !d.card.hasPort(port) {
		return fmt.Errorf("chaos: transmit on %s: %w", port, hwabstraction.ErrPortGone)
	}
	d.card.emit(port, slices.Clone(frame))
	return nil
}

// Close ends the device; its rules go on acting.
func (d *Chaos) Close() error {
	d.closed.Store(true)
	return nil
}
