package switchdev

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/flower"
)

// figures are what a Device has done and found since Open.
type figures struct {
	Adopted     uint64 // filters of an earlier process
	StepsDown   uint64 // rungs of the ladder, of all VMs and ports
	Audits      uint64
	Healed      uint64 // filters that somebody had deleted or changed
	Strays      uint64 // filters of ours that nobody owned, removed
	PortsGone   uint64 // ports that vanished with their filters
	EswitchLost uint64 // times that the e-switch left switchdev mode
}

// passed are packets that filters have taken, and those of them that hardware has.
type passed struct{ fast, hardware uint64 }

// events are the figures by their names in metrics.
func (f figures) events() map[string]uint64 {
	return map[string]uint64{
		"adopted": f.Adopted, "stepped_down": f.StepsDown, "audited": f.Audits,
		"healed": f.Healed, "stray_removed": f.Strays, "port_gone": f.PortsGone, "eswitch_lost": f.EswitchLost,
	}
}

// Tiers implements hwabstraction.Tiered: a dump of each port. A VM whose filters
// came or went meanwhile is counted again by itself, so that no packet is counted
// twice or left out.
func (d *Device) Tiers(ctx context.Context) (hwabstraction.Tiers, error) {
	r, owners, shares := d.tiers()
	before := map[owner]passed{}
	for o, s := range shares {
		before[o] = passed{s.Fast, s.Hardware}
	}
	err := d.each(ctx, func(w wanted, s flower.Status) {
		where := "kernel"
		if s.Hardware() {
			where = "hardware"
		}
		r.Filters[where]++
		if o, ok := owners[w.count[0]]; ok {
			shares[o].Fast += s.Packets
			shares[o].Hardware += s.HWPackets
		}
	})
	if err != nil {
		return r, err
	}
	for o, s := range shares {
		if err := d.recount(ctx, s, before[o]); err != nil && !errors.Is(err, hwabstraction.ErrPortGone) {
			return r, err
		}
	}
	slow, err := d.slow.Counters(ctx, slices.Collect(maps.Keys(owners)))
	for id, c := range slow {
		shares[owners[id]].Slow += c.Packets
	}
	for _, s := range shares {
		r.VMs = append(r.VMs, *s)
	}
	slices.SortFunc(r.VMs, func(a, b hwabstraction.Share) int { return slices.Compare(a.Owner[:], b.Owner[:]) })
	return r, err
}

// recount counts a VM's filters under the lock, where some are gone that had
// counted, since before.
func (d *Device) recount(ctx context.Context, s *hwabstraction.Share, before passed) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	taken := d.taken[s.Owner]
	if taken == before {
		return nil
	}
	s.Fast, s.Hardware = taken.fast, taken.hardware
	for k, filters := range d.ledger.units {
		var found map[place]flower.Status // of a unit with filters that count for the VM
		for _, w := range filters {
			if !d.countsFor(w, s.Owner) {
				continue
			}
			if found == nil {
				var err error
				if found, err = d.read(ctx, k, counts); err != nil {
					return err
				}
			}
			s.Fast += found[placeOf(w.Filter)].Packets
			s.Hardware += found[placeOf(w.Filter)].HWPackets
		}
	}
	return nil
}

// countsFor reports whether a filter counts for a VM's rules.
func (d *Device) countsFor(w wanted, vm owner) bool {
	if !counts(w) {
		return false
	}
	r := d.model.rules[w.count[0]]
	return r != nil && owner(r.Stamped().Owner) == vm
}

// tiers is what is known without asking: whose the rules are, and what filters
// had counted that are gone.
func (d *Device) tiers() (hwabstraction.Tiers, map[hwabstraction.RuleID]owner, map[owner]*hwabstraction.Share) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := hwabstraction.Tiers{Filters: map[string]int{}, Rungs: map[string]int{}, Events: d.figures.events()}
	for _, u := range d.units {
		r.Rungs[d.ladder[u.rung].name]++
	}
	owners, shares := map[hwabstraction.RuleID]owner{}, map[owner]*hwabstraction.Share{}
	for id, rule := range d.model.rules {
		switch id.Kind {
		case hwabstraction.KindDeliver, hwabstraction.KindRedirect, hwabstraction.KindEgress:
			o := owner(rule.Stamped().Owner)
			owners[id] = o
			if shares[o] == nil {
				shares[o] = &hwabstraction.Share{Owner: o, Fast: d.taken[o].fast, Hardware: d.taken[o].hardware}
			}
		}
	}
	return r, owners, shares
}
