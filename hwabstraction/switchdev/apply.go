package switchdev

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/tc"
)

// Apply implements hwabstraction.Device: the fast path of what changes goes, the
// slow path changes, and the loop makes filters anew. What no rule changes is
// left alone.
func (d *Device) Apply(ctx context.Context, changes []hwabstraction.Change) []hwabstraction.Result {
	d.applying.Lock()
	defer d.applying.Unlock()
	units, err := d.prepare(ctx, changes)
	if err != nil {
		d.mu.Lock()
		d.claims, d.pending = true, nil
		d.mu.Unlock()
		d.settle(units...)
		return refused(changes, err)
	}
	results := d.slow.Apply(ctx, changes)
	d.learn(changes, results)
	d.settle(units...)
	return results
}

func refused(changes []hwabstraction.Change, err error) []hwabstraction.Result {
	results := make([]hwabstraction.Result, len(changes))
	for i, c := range changes {
		if c.Delete || c.Rule != nil {
			results[i].ID = c.Target()
		}
		results[i].Err = fmt.Errorf("switchdev: the fast path cannot be taken away, so that nothing is changed: %w", err)
	}
	return results
}

// prepare takes away what is fast of the rules that will change, and has VM
// ports leave to the slow path what a new rule claims.
func (d *Device) prepare(ctx context.Context, changes []hwabstraction.Change) ([]*unit, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, nil
	}
	owners, ports := map[owner]bool{}, map[string]bool{}
	var claimed []netip.Prefix
	for _, c := range changes {
		r := d.real(c)
		if r == nil {
			continue
		}
		d.affected(r, owners, ports)
		if !c.Delete && r.ID().Kind != hwabstraction.KindEgress {
			claimed = append(claimed, r.ID().Prefix)
		}
	}
	units := d.hold(owners, ports)
	for _, u := range units {
		if err := d.withdraw(u); err != nil {
			return units, err
		}
	}
	if d.claims {
		d.except()
	}
	d.pending = claimed
	return units, d.leaveOut(ctx, claimed)
}

// real is the rule that a change is about; nil where it changes nothing.
func (d *Device) real(c hwabstraction.Change) hwabstraction.Rule {
	switch {
	case c.Delete:
		if old := d.model.rules[c.ID]; old != nil && owns(c.Stamp, old) {
			return old
		}
	case c.Rule != nil && c.Rule.Validate() == nil && d.model.rules[c.Rule.ID()] != c.Rule:
		return c.Rule
	}
	return nil
}

// affected notes the units whose filters depend on a rule.
func (d *Device) affected(r hwabstraction.Rule, owners map[owner]bool, ports map[string]bool) {
	switch r := r.(type) {
	case hwabstraction.Deliver:
		owners[r.Stamp.Owner] = true
		d.model.touched(r.Address, owners)
		d.model.touched(r.Restore, owners)
	case hwabstraction.Redirect:
		owners[r.Stamp.Owner] = true
		d.model.touched(r.Address, owners)
	case hwabstraction.Trap:
		d.model.touched(r.Address, owners)
	case hwabstraction.Egress:
		ports[r.Port] = true
	}
}

// hold marks units as changing: the loop leaves them alone until settle.
func (d *Device) hold(owners map[owner]bool, ports map[string]bool) []*unit {
	var units []*unit
	for o := range owners {
		units = append(units, d.vmUnit(o))
	}
	for p := range ports {
		units = append(units, d.portUnit(p))
	}
	for _, u := range units {
		u.switching++
	}
	return units
}

// leaveOut has the filters of VM ports leave packets to these prefixes to the
// slow path. A port that cannot is the slow path's altogether.
func (d *Device) leaveOut(ctx context.Context, claimed []netip.Prefix) error {
	claimed = slices.DeleteFunc(compact(slices.Clone(claimed)), func(p netip.Prefix) bool { return covered(d.scene.except[p.Addr().Is4()], p) })
	if len(claimed) == 0 {
		return nil
	}
	d.except() // with what is pending: the loop must not take it away again
	for k, u := range d.units {
		if k.port == "" || d.ledger.closed(k) {
			continue
		}
		if len(claimed) > maxExcept || d.carryOut(ctx, u, d.missing(u, claimed)) != nil {
			if err := d.withdraw(u); err != nil {
				return err
			}
			d.dirty[k] = true
		}
	}
	return nil
}

// missing are the filters that a VM's port lacks to leave prefixes out.
func (d *Device) missing(u *unit, claimed []netip.Prefix) []change {
	var changes []change
	for _, port := range d.portsOf(u) {
		p := plan{rung: d.ladder[u.rung], port: port}
		for _, to := range claimed {
			p.add(u.chain, missPriority, missing(to))
		}
		for _, w := range p.out {
			if _, ok := d.ledger.units[u.key][keyOf(w.Filter)]; !ok {
				d.ledger.handle(u.key, &w.Filter)
				changes = append(changes, change{op: tc.Put, filter: w})
			}
		}
	}
	return changes
}

// covered reports whether one of the prefixes, compact, holds all of another.
func covered(prefixes []netip.Prefix, p netip.Prefix) bool {
	at, found := slices.BinarySearchFunc(prefixes, p, netip.Prefix.Compare)
	return found || at > 0 && prefixes[at-1].Bits() <= p.Bits() && prefixes[at-1].Contains(p.Addr())
}

// learn notes what the slow path has done.
func (d *Device) learn(changes []hwabstraction.Change, results []hwabstraction.Result) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	d.pending = nil
	ports := map[string]bool{}
	for i, c := range changes {
		r := d.real(c)
		if r == nil {
			continue
		}
		ports[portOf(r)] = true
		d.claim(r.ID(), c.Delete)
		d.claims = d.claims || results[i].Err != nil // what was pending is not claimed
		switch err := results[i].Err; {
		case errors.Is(err, hwabstraction.ErrStale), errors.Is(err, hwabstraction.ErrInvalidRule):
		case err != nil: // the old rule may be there, or not
			d.stale = true
		case c.Delete:
			d.model.remove(c.ID)
			delete(d.carried, c.ID)
		default:
			d.model.put(c.Rule)
			d.unitsOf(c.Rule)
		}
	}
	d.lookAt(ports)
}

// claim notes that what VM ports leave out may be another thing: a new rule
// claims what nothing in it holds, or a rule that is in it goes.
func (d *Device) claim(id hwabstraction.RuleID, gone bool) {
	if id.Kind == hwabstraction.KindEgress {
		return
	}
	list := d.scene.except[id.Prefix.Addr().Is4()]
	_, found := slices.BinarySearchFunc(list, id.Prefix, netip.Prefix.Compare)
	d.claims = d.claims || found && gone || !gone && !covered(list, id.Prefix)
}

// portOf is the VM's port that a rule names; "" = none.
func portOf(r hwabstraction.Rule) string {
	switch r := r.(type) {
	case hwabstraction.Deliver:
		return r.Port
	case hwabstraction.Egress:
		return r.Port
	}
	return ""
}

// lookAt reads VM ports from the kernel: a rule may have opened one, or be the
// first to name it.
func (d *Device) lookAt(ports map[string]bool) {
	for name := range ports {
		if name == "" {
			continue
		}
		old, had := d.scene.ports[name]
		p, err := d.cfg.Kernel.Port(name)
		if err != nil {
			delete(d.scene.ports, name)
			d.seen++
			continue
		}
		d.scene.ports[name] = p
		if !had || old != p {
			d.seen++
		}
		if had && old != p {
			for k := range d.units {
				d.dirty[k] = true
			}
		}
	}
}

// except makes anew what VM ports leave to the slow path; their units are
// planned again where that is something else.
func (d *Device) except() {
	d.claims = false
	except := map[bool][]netip.Prefix{}
	for id := range d.model.rules {
		if id.Kind != hwabstraction.KindEgress {
			ipv4 := id.Prefix.Addr().Is4()
			except[ipv4] = append(except[ipv4], id.Prefix)
		}
	}
	for _, p := range d.pending {
		except[p.Addr().Is4()] = append(except[p.Addr().Is4()], p)
	}
	for ipv4 := range except {
		except[ipv4] = compact(except[ipv4])
	}
	for _, ipv4 := range []bool{true, false} {
		if slices.Equal(d.scene.except[ipv4], except[ipv4]) {
			continue
		}
		for k := range d.units {
			if k.port != "" {
				d.dirty[k] = true
			}
		}
	}
	d.scene.except = except
}

// compact sorts prefixes and leaves out those that lie in another one.
func compact(prefixes []netip.Prefix) []netip.Prefix {
	slices.SortFunc(prefixes, netip.Prefix.Compare)
	out := prefixes[:0]
	for _, p := range prefixes {
		if n := len(out); n == 0 || !out[n-1].Contains(p.Addr()) || out[n-1].Bits() > p.Bits() {
			out = append(out, p)
		}
	}
	return out
}
