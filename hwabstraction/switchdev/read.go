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
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.each(ctx, nil, func(w wanted, s flower.Status) {
		at := hwabstraction.PlacementEBPF
		if s.InHW {
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

// each calls f for the filters of open units that count for rules, read from the
// kernel. of chooses units; nil = all. Caller holds mu.
func (d *Device) each(ctx context.Context, of map[unitKey]bool, f func(wanted, flower.Status)) error {
	lists := map[int32]map[place]flower.Status{}
	for k, filters := range d.ledger.units {
		if of != nil && !of[k] {
			continue
		}
		var found map[place]flower.Status
		var err error
		if of != nil {
			found, err = d.read(ctx, d.units[k], counts)
		} else {
			found, err = d.list(ctx, d.units[k], lists)
		}
		if err != nil {
			return err
		}
		for _, w := range filters {
			if s, ok := found[placeOf(w.Filter)]; ok && len(w.count) > 0 {
				f(w, s)
			}
		}
	}
	return nil
}

// list reads all filters of a unit's ports, each port once.
func (d *Device) list(ctx context.Context, u *unit, lists map[int32]map[place]flower.Status) (map[place]flower.Status, error) {
	out := map[place]flower.Status{}
	for _, port := range d.portsOf(u) {
		l := lists[port]
		if l == nil {
			found, err := d.cfg.Table.List(ctx, port)
			if err != nil && !errors.Is(err, hwabstraction.ErrPortGone) {
				return nil, err
			}
			l = map[place]flower.Status{}
			for _, s := range found {
				l[placeOf(s.Filter)] = s
			}
			lists[port] = l
		}
		for k := range d.ledger.units[u.key] {
			if k.port == port {
				at := placeOf(d.ledger.units[u.key][k].Filter)
				if s, ok := l[at]; ok {
					out[at] = s
				}
			}
		}
	}
	return out, nil
}

// Counters implements hwabstraction.Device: what the slow path and filters have
// taken. What filters counted before the process was restarted and that have
// gone since is not in it.
func (d *Device) Counters(ctx context.Context, ids []hwabstraction.RuleID) (map[hwabstraction.RuleID]hwabstraction.Counter, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	out, err := d.slow.Counters(ctx, ids)
	if err != nil {
		return out, err
	}
	units := map[unitKey]bool{}
	for id := range out {
		out[id] = sum(out[id], d.carried[id])
		if r := d.model.rules[id]; r != nil {
			units[unitOf(r)] = true
		}
	}
	err = d.each(ctx, units, func(w wanted, s flower.Status) {
		for _, id := range w.count {
			if c, ok := out[id]; ok {
				out[id] = sum(c, counted(s))
			}
		}
	})
	if errors.Is(err, hwabstraction.ErrPortGone) {
		err = nil
	}
	return out, err
}

// unitOf is the unit that has the filters of a rule.
func unitOf(r hwabstraction.Rule) unitKey {
	if e, ok := r.(hwabstraction.Egress); ok {
		return unitKey{port: e.Port}
	}
	return unitKey{vm: r.Stamped().Owner}
}
