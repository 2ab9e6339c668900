package switchdev

import (
	"context"
	"errors"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/flower"
)

// Rules implements hwabstraction.Device: the slow path's rules, and where their
// filters are, by a dump of them.
func (d *Device) Rules(ctx context.Context) ([]hwabstraction.RuleStatus, error) {
	rules, err := d.slow.Rules(ctx)
	if err != nil {
		return nil, err
	}
	where, err := d.placements(ctx)
	if err != nil {
		return nil, err
	}
	for i := range rules {
		if rules[i].Placement != hwabstraction.PlacementNone {
			rules[i].Placement = max(rules[i].Placement, where[rules[i].Rule.ID()])
		}
	}
	return rules, nil
}

// placements are those of rules with filters that act. Filters that are in the
// kernel only are on the same rung as the slow path's programs.
func (d *Device) placements(ctx context.Context) (map[hwabstraction.RuleID]hwabstraction.Placement, error) {
	out := map[hwabstraction.RuleID]hwabstraction.Placement{}
	err := d.each(ctx, func(w wanted, s flower.Status) {
		at := hwabstraction.PlacementEBPF
		if s.Hardware() {
			at = hwabstraction.PlacementHardwareStateless
			if tracks(w.Filter) {
				at = hwabstraction.PlacementHardwareConntrack
			}
		}
		for _, id := range w.count {
			out[id] = max(out[id], at)
		}
	})
	return out, err
}

// tracks reports whether a filter needs conntrack.
func tracks(f flower.Filter) bool {
	if f.Match.State != 0 {
		return true
	}
	for _, a := range f.Actions {
		if _, ok := a.(flower.Conntrack); ok {
			return true
		}
	}
	return false
}

// each calls f for the filters that count for rules, as the kernel has them. The
// lock is not held while ports are dumped.
func (d *Device) each(ctx context.Context, f func(wanted, flower.Status)) error {
	d.mu.Lock()
	ports, filters := map[int32]bool{}, map[place]wanted{}
	for _, unit := range d.ledger.units {
		for _, w := range unit {
			if counts(w) {
				ports[w.Port], filters[placeOf(w.Filter)] = true, w
			}
		}
	}
	d.mu.Unlock()
	for port := range ports {
		found, err := d.cfg.Table.List(ctx, port)
		if err != nil && !errors.Is(err, hwabstraction.ErrPortGone) {
			return err
		}
		for _, s := range found {
			if w, ok := filters[placeOf(s.Filter)]; ok {
				f(w, s)
			}
		}
	}
	return nil
}

// Counters implements hwabstraction.Device: what the slow path and filters have
// taken. What filters counted before the process was restarted and that have
// gone since is not in it.
func (d *Device) Counters(ctx context.Context, ids []hwabstraction.RuleID) (map[hwabstraction.RuleID]hwabstraction.Counter, error) {
	out, err := d.slow.Counters(ctx, ids)
	if err != nil {
		return out, err
	}
	for k, ids := range d.byUnit(out) {
		if err := d.count(ctx, k, ids, out); err != nil && !errors.Is(err, hwabstraction.ErrPortGone) {
			return out, err
		}
	}
	return out, nil
}

// byUnit sorts rules by the units that they belong to.
func (d *Device) byUnit(rules map[hwabstraction.RuleID]hwabstraction.Counter) map[unitKey][]hwabstraction.RuleID {
	d.mu.Lock()
	defer d.mu.Unlock()
	units := map[unitKey][]hwabstraction.RuleID{}
	for id := range rules {
		if r := d.model.rules[id]; r != nil {
			units[unitOf(r)] = append(units[unitOf(r)], id)
		}
	}
	return units
}

// count adds what the filters of a unit have counted and what is carried: under
// one lock, so that nothing is counted in both.
func (d *Device) count(ctx context.Context, k unitKey, ids []hwabstraction.RuleID, out map[hwabstraction.RuleID]hwabstraction.Counter) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range ids {
		out[id] = sum(out[id], d.carried[id])
	}
	u := d.units[k]
	if u == nil {
		return nil
	}
	found, err := d.read(ctx, u.key, counts)
	if err != nil {
		return err
	}
	for _, w := range d.ledger.units[k] {
		s, ok := found[placeOf(w.Filter)]
		if !ok {
			continue
		}
		for _, id := range w.count {
			if c, asked := out[id]; asked {
				out[id] = sum(c, counted(s))
			}
		}
	}
	return nil
}

// unitOf is the unit that has the filters of a rule.
func unitOf(r hwabstraction.Rule) unitKey {
	if e, ok := r.(hwabstraction.Egress); ok {
		return unitKey{port: e.Port}
	}
	return unitKey{vm: r.Stamped().Owner}
}
