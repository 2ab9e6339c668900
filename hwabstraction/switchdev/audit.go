package switchdev

import (
	"context"
	"errors"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/flower"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/tc"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/ways"
)

// watchedPort is a port that may have filters of ours.
type watchedPort struct {
	ways.Port
	name   string
	uplink bool
}

// watched are the ports of the scene.
func (d *Device) watched() []watchedPort {
	var out []watchedPort
	for _, p := range d.scene.uplinks {
		out = append(out, watchedPort{p, "uplink", true})
	}
	for name, p := range d.scene.ports {
		out = append(out, watchedPort{p, name, false})
	}
	return out
}

// unitAt finds whose a filter of ours must be: the chain tells, or that which an
// entry leads to.
func (d *Device) unitAt(p watchedPort, f flower.Filter) (unitKey, bool) {
	chain := f.Chain
	if chain == entryChain && len(f.Actions) > 0 {
		if to, ok := f.Actions[len(f.Actions)-1].(flower.Goto); ok {
			chain = to.Chain
		}
	}
	switch {
	case !p.uplink && chain == egressChain:
		k := unitKey{port: p.name}
		return k, d.units[k] != nil
	case p.uplink && chain >= firstChain:
		o, ok := d.chains[chain&^1]
		return unitKey{vm: o}, ok
	}
	return unitKey{}, false
}

// takeOver enters the filters of an earlier process into the ledger. What they
// count for is told when they are planned again. What nobody owns stays until
// the first audit.
func (d *Device) takeOver(p watchedPort, found []flower.Status) {
	for _, s := range found {
		if s.Kind != "flower" || !ours(s.Cookie) || len(s.Beyond) > 0 {
			continue
		}
		k, ok := d.unitAt(p, s.Filter)
		if !ok {
			continue
		}
		d.ledger.put(k, wanted{Filter: s.Filter, found: &s})
		d.figures.Adopted++
		d.ready[p.Index] = true
	}
}

// audit compares the kernel's filters with the ledger: what somebody deleted or
// changed is put back, what is ours and nobody's goes, what is another's stays.
// It also reads the slow path again where a change went wrong, and has the
// kernel confirm the neighbours that filters send to.
func (d *Device) audit(ctx context.Context) {
	d.mu.Lock()
	ports := d.watched()
	d.figures.Audits++
	stale := d.stale
	d.mu.Unlock()
	for _, p := range ports {
		if ctx.Err() != nil {
			return
		}
		d.auditPort(ctx, p)
	}
	if stale {
		d.resync(ctx)
	}
	d.lookAgain() // if it does not come to an end, a change will have it tried again
}

// auditPort reads a port without the lock; what looks wrong then is read again
// with it, for the loop may have been at work meanwhile.
func (d *Device) auditPort(ctx context.Context, p watchedPort) {
	found, err := d.cfg.Table.List(ctx, p.Index)
	d.mu.Lock()
	defer d.mu.Unlock()
	if errors.Is(err, hwabstraction.ErrPortGone) {
		d.gone(p.Index)
		return
	}
	if err != nil {
		d.cfg.Log.Warn("filters are not audited", "port", p.name, "err", err)
		return
	}
	suspect := map[uint32]bool{} // chains
	there := map[place]flower.Status{}
	for _, s := range found {
		if s.Kind != "flower" {
			continue
		}
		there[placeOf(s.Filter)] = s
		if _, known := d.ledger.places[placeOf(s.Filter)]; !known && ours(s.Cookie) {
			suspect[s.Chain] = true
		}
	}
	for at, k := range d.ledger.places {
		if at.port == p.Index && !d.ledger.at(k, at).stands(there) {
			suspect[at.chain] = true
		}
	}
	for chain := range suspect {
		d.auditChain(ctx, p, chain)
	}
}

// auditChain removes what is ours and nobody's from a chain, and puts back what
// somebody has deleted or changed. Caller holds mu.
func (d *Device) auditChain(ctx context.Context, p watchedPort, chain uint32) {
	found, err := d.cfg.Table.ListChain(ctx, p.Index, chain)
	if err != nil {
		d.cfg.Log.Warn("a chain is not audited", "port", p.name, "chain", chain, "err", err)
		return
	}
	there := map[place]flower.Status{}
	var strays []tc.Request
	for _, s := range found {
		if s.Kind != "flower" {
			continue
		}
		there[placeOf(s.Filter)] = s
		if _, known := d.ledger.places[placeOf(s.Filter)]; !known && ours(s.Cookie) {
			strays = append(strays, tc.Request{Op: tc.Delete, Filter: s.Filter})
		}
	}
	for i, err := range d.cfg.Table.Apply(ctx, strays) {
		if err != nil {
			d.cfg.Log.Warn("stale filter not removed", "port", p.name, "filter", strays[i].Filter, "err", err)
			continue
		}
		d.figures.Strays++
	}
	d.heal(p, chain, there)
}

// stands reports whether the kernel has the filter. One that an earlier process
// has put is replaced when it is planned, if it must be.
func (w wanted) stands(there map[place]flower.Status) bool {
	s, ok := there[placeOf(w.Filter)]
	return ok && (w.found != nil || s.Holds(w.Filter))
}

// at is a unit's filter at a place.
func (l *ledger) at(k unitKey, at place) wanted { return l.units[k][l.keys[at]] }

// heal forgets what is not as it should be, and has its units planned again:
// what is missing is put, what was changed is replaced.
func (d *Device) heal(p watchedPort, chain uint32, there map[place]flower.Status) {
	for at, k := range d.ledger.places {
		w := d.ledger.at(k, at)
		if at.port != p.Index || at.chain != chain || w.stands(there) {
			continue
		}
		d.figures.Healed++
		d.cfg.Log.Warn("somebody has deleted or changed a filter", "unit", k, "port", p.name, "chain", w.Chain, "priority", w.Priority)
		if _, ok := there[at]; ok { // another filter stands at its place: it must go, or nothing can be put
			d.cfg.Table.Apply(context.Background(), []tc.Request{{Op: tc.Delete, Filter: w.Filter}})
		}
		d.ledger.remove(k, w.Filter)
		d.dirty[k] = true
	}
}

// resync reads the rules of the slow path again.
func (d *Device) resync(ctx context.Context) {
	d.applying.Lock()
	defer d.applying.Unlock()
	rules, err := d.slow.Rules(ctx)
	if err != nil {
		d.cfg.Log.Warn("the slow path is not read again", "err", err)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stale = false
	fresh := map[hwabstraction.RuleID]bool{}
	for _, r := range rules {
		fresh[r.Rule.ID()] = true
		d.model.put(r.Rule)
		d.unitsOf(r.Rule)
	}
	for id := range d.model.rules {
		if !fresh[id] {
			d.model.remove(id)
			delete(d.carried, id)
		}
	}
	d.except()
	for k := range d.units {
		d.dirty[k] = true
	}
}
