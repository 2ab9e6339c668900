package switchdev

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/flower"
)

// Figures are what a Device has done and found since Open.
type Figures struct {
	Adopted   uint64 // filters of an earlier process
	StepsDown uint64 // rungs of the ladder, of all VMs and ports
	Audits    uint64
	Healed    uint64 // filters that somebody had deleted or changed
	Strays    uint64 // filters of ours that nobody owned, removed
	PortsGone uint64 // ports that vanished with their filters
}

// Share is how many packets of a VM went which way, since its rules were put.
type Share struct {
	VM         [16]byte // owner hash
	Fast, Slow uint64
}

// Report is what a Device tells of itself.
type Report struct {
	Figures
	Filters map[string]int // that take packets, by where they are: "hardware", "kernel"
	Rungs   map[string]int // VMs and VM ports, by the rung of the ladder that they are on
	VMs     []Share        // in the order of their hashes
}

// Report reads the filters and counters: a dump of each port.
func (d *Device) Report(ctx context.Context) (Report, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := Report{Figures: d.figures, Filters: map[string]int{}, Rungs: map[string]int{}}
	for _, u := range d.units {
		r.Rungs[d.ladder[u.rung].name]++
	}
	shares := map[owner]*Share{}
	of := func(o owner) *Share {
		if shares[o] == nil {
			shares[o] = &Share{VM: o}
		}
		return shares[o]
	}
	err := d.each(ctx, nil, func(w wanted, s flower.Status) {
		if where := "kernel"; s.InHW {
			r.Filters["hardware"]++
		} else {
			r.Filters[where]++
		}
		if rule := d.model.rules[w.count[0]]; rule != nil {
			of(rule.Stamped().Owner).Fast += s.Packets
		}
	})
	if err != nil {
		return r, err
	}
	for id, c := range d.carried {
		if rule := d.model.rules[id]; rule != nil {
			of(rule.Stamped().Owner).Fast += c.Packets
		}
	}
	slow, err := d.slow.Counters(ctx, slices.Collect(maps.Keys(d.model.rules)))
	for id, c := range slow {
		switch id.Kind {
		case hwabstraction.KindDeliver, hwabstraction.KindRedirect, hwabstraction.KindEgress:
			of(d.model.rules[id].Stamped().Owner).Slow += c.Packets
		}
	}
	for _, s := range shares {
		r.VMs = append(r.VMs, *s)
	}
	slices.SortFunc(r.VMs, func(a, b Share) int { return cmp.Or(slices.Compare(a.VM[:], b.VM[:])) })
	return r, err
}
