package switchdev

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/dpmip/dpmip/hwabstraction"
)

// unit is a VM, or a VM's port, whose filters are planned together.
type unit struct {
	key       unitKey
	chain     uint32
	rung      int       // of Device.ladder
	reason    error     // why no better one
	climbAt   time.Time // when to try the best one again; zero: it is there
	climbs    int
	offer     bool // filters that stand are put again, for hardware to take
	fallen    bool // on the last rung for want of an e-switch, until it is back
	switching int  // Applies and switches that are under way: the loop stays away
	holding   bool // a group is active and its hold is not over
	polls     int  // how often in a row the slow path was not ready
}

// vmUnit returns the unit of a VM, made if need be. Caller holds mu.
func (d *Device) vmUnit(o owner) *unit {
	k := unitKey{vm: o}
	if u := d.units[k]; u != nil {
		return u
	}
	u := &unit{key: k, chain: chainOf(o)}
	for d.chains[u.chain] != (owner{}) {
		u.chain += 2
	}
	d.chains[u.chain], d.units[k] = o, u
	return u
}

// portUnit returns the unit of a VM's port, made if need be. Caller holds mu.
func (d *Device) portUnit(name string) *unit {
	k := unitKey{port: name}
	u := d.units[k]
	if u == nil {
		u = &unit{key: k, chain: egressChain}
		d.units[k] = u
	}
	return u
}

// unitsOf makes the units of a rule be.
func (d *Device) unitsOf(r hwabstraction.Rule) {
	switch r := r.(type) {
	case hwabstraction.Deliver, hwabstraction.Redirect:
		d.vmUnit(r.Stamped().Owner)
	case hwabstraction.Egress:
		d.portUnit(r.Port)
	}
}

// idle reports whether a unit has neither rules nor filters.
func (d *Device) idle(u *unit) bool {
	if u.switching > 0 || len(d.ledger.units[u.key]) > 0 {
		return false
	}
	if u.key.port != "" {
		return len(d.model.sources[u.key.port]) == 0
	}
	return len(d.model.owned[u.key.vm]) == 0
}

func (d *Device) drop(u *unit) {
	delete(d.units, u.key)
	delete(d.dirty, u.key)
	delete(d.polls, u.key)
	if u.key.port == "" {
		delete(d.chains, u.chain)
		delete(d.taken, u.key.vm)
		maps.DeleteFunc(d.quiet, func(s hwabstraction.Stamp, _ time.Time) bool { return s.Owner == u.key.vm })
	}
}

// ports are those that a unit's filters may stand on.
func (d *Device) portsOf(u *unit) []int32 {
	var out []int32
	for k := range d.ledger.units[u.key] {
		if !slices.Contains(out, k.port) {
			out = append(out, k.port)
		}
	}
	slices.Sort(out)
	return out
}

// phases asks the slow path for the groups of a VM. waits tells that a later
// answer may be another: a first packet to come, or a hold to end.
func (d *Device) phases(u *unit, now time.Time) (out map[hwabstraction.Stamp]phase, waits bool) {
	out = map[hwabstraction.Stamp]phase{}
	u.holding = false
	for _, s := range d.model.stamps(u.key.vm) {
		g, err := d.slow.Group(s)
		if err != nil { // it goes slow until it can be asked
			waits = true
			continue
		}
		p := phase{armed: g.Armed, hit: g.Armed && !g.FirstHit.IsZero(), active: g.Active && !g.Returning}
		p.settled = p.active && d.settled(s, g, now)
		out[s] = p
		u.holding = u.holding || p.active && !p.settled
		waits = waits || p.armed != p.hit || p.active != p.settled
	}
	return out, waits
}

// settled reports whether nothing of a group's hold is on its way: nothing has
// been held for a while.
func (d *Device) settled(s hwabstraction.Stamp, g hwabstraction.GroupStatus, now time.Time) bool {
	if !d.model.holds(s) {
		return true
	}
	since, seen := d.quiet[s]
	switch {
	case g.HeldNow > 0:
		delete(d.quiet, s)
		return false
	case !seen:
		d.quiet[s] = now
		return false
	}
	return now.Sub(since) >= d.cfg.Quiet
}

// holds reports whether a group has a Deliver that may hold.
func (m *model) holds(s hwabstraction.Stamp) bool {
	for a := range m.owned[s.Owner] {
		if d := m.spots[a].deliver; d != nil && d.Stamp == s && d.Hold {
			return true
		}
	}
	return false
}

// want plans a unit. Caller holds mu.
func (d *Device) want(u *unit, now time.Time) (filters []wanted, waits bool) {
	r := d.ladder[u.rung]
	if u.key.port != "" {
		return planEgress(d.model.sources[u.key.port], u.key.port, d.scene, r), false
	}
	phases, waits := d.phases(u, now)
	verdicts := d.model.verdicts(u.key.vm, phases)
	d.findHops(verdicts)
	return planVM(verdicts, u.key.vm, u.chain, d.scene, r), waits
}

// findHops asks for ways that were not asked for yet.
func (d *Device) findHops(verdicts map[netip.Addr]verdict) {
	for _, v := range verdicts {
		if v.redirect == nil {
			continue
		}
		to := target(v.redirect)
		if d.asked[to] {
			continue
		}
		d.asked[to] = true
		if hop, err := d.cfg.Kernel.Hop(to); err == nil {
			d.scene.hops[to] = hop
		}
	}
}
