package software

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/internal/rtnl"
)

// batch is one call of Apply. Slots are written at once, but nobody sees them
// before flush writes the index (dsts); what they replace is retired after.
type batch struct {
	d       *Device
	results []hwabstraction.Result
	dst     map[addr16]*pending
	order   []addr16
	routes  []rtMessage
	routeOf []int                // result of each message; -1 = of none
	gone    map[int]*kernelRoute // what a message deletes
	retired []retired
	stale   []uint32 // counters to set to zero before the index names their rules
	zones   zoneChange
	hops    hopCache
}

// retired is a slot that is free once the index does not name it; its counter
// may have gone to the slot that took its place.
type retired struct {
	slot    uint32
	counter bool
}

// pending is the entry of one address as it shall be.
type pending struct {
	entry   dstEntry
	existed bool
	made    []made
}

// made is a slot that this batch published, and for which result.
type made struct {
	slot   uint32
	result int
}

// Apply implements hwabstraction.Device.
func (d *Device) Apply(ctx context.Context, changes []hwabstraction.Change) []hwabstraction.Result {
	d.apply.Lock()
	defer d.apply.Unlock()
	return d.applyNow(ctx, changes)
}

// applyNow is Apply. Caller holds apply.
func (d *Device) applyNow(ctx context.Context, changes []hwabstraction.Change) []hwabstraction.Result {
	b := &batch{d: d, results: make([]hwabstraction.Result, len(changes)), dst: map[addr16]*pending{}, hops: hopCache{}}
	closed := d.isClosed()
	first, second := order(changes)
	for _, phase := range [][]int{first, second} {
		for _, i := range phase {
			if c := changes[i]; c.Delete || c.Rule != nil {
				b.results[i].ID = c.Target()
			}
			switch {
			case closed:
				b.results[i].Err = hwabstraction.ErrClosed
			case ctx.Err() != nil:
				b.results[i].Err = ctx.Err()
			default:
				b.change(i, changes[i])
			}
		}
		if !closed {
			b.flush()
		}
	}
	return b.results
}

// order puts deletes behind puts, except those of IDs that are also put.
func order(changes []hwabstraction.Change) (first, second []int) {
	put := map[hwabstraction.RuleID]bool{}
	if slices.ContainsFunc(changes, func(c hwabstraction.Change) bool { return c.Delete }) {
		for _, c := range changes {
			if !c.Delete && c.Rule != nil {
				put[c.Rule.ID()] = true
			}
		}
	}
	for i, c := range changes {
		if c.Delete && !put[c.ID] {
			second = append(second, i)
		} else {
			first = append(first, i)
		}
	}
	return first, second
}

func (b *batch) change(i int, c hwabstraction.Change) {
	r := &b.results[i]
	if c.Delete {
		r.Err = b.remove(i, c.ID, c.Stamp)
		return
	}
	if c.Rule == nil {
		r.Err = fmt.Errorf("%w: neither a rule nor a delete", hwabstraction.ErrInvalidRule)
		return
	}
	if r.Err = c.Rule.Validate(); r.Err != nil {
		return
	}
	r.Placement, r.Err = b.put(i, c.Rule)
	if r.Err != nil {
		r.Placement = hwabstraction.PlacementNone
	}
}

func (b *batch) put(i int, rule hwabstraction.Rule) (hwabstraction.Placement, error) {
	switch r := rule.(type) {
	case hwabstraction.Redirect:
		return hwabstraction.PlacementEBPF, b.putRedirect(i, r)
	case hwabstraction.Deliver:
		return hwabstraction.PlacementEBPF, b.putDeliver(i, r)
	case hwabstraction.Egress:
		return hwabstraction.PlacementEBPF, b.putEgress(r)
	case hwabstraction.Trap:
		return hwabstraction.PlacementEBPF, b.putTrap(i, r)
	case hwabstraction.HostRoute:
		return hwabstraction.PlacementKernelRoute, b.putHostRoute(i, r)
	case hwabstraction.Unreachable:
		return hwabstraction.PlacementKernelRoute, b.putUnreachable(i, r)
	}
	return hwabstraction.PlacementNone, fmt.Errorf("%w: %T", hwabstraction.ErrNotSupported, rule)
}

func (b *batch) remove(i int, id hwabstraction.RuleID, s hwabstraction.Stamp) error {
	switch id.Kind {
	case hwabstraction.KindRedirect, hwabstraction.KindDeliver:
		return b.removeIndexed(id, s)
	case hwabstraction.KindEgress:
		return b.removeEgress(id, s)
	case hwabstraction.KindTrap:
		return b.removeTrap(id, s)
	case hwabstraction.KindHostRoute, hwabstraction.KindUnreachable:
		return b.removeKernelRoute(i, id, s)
	}
	return fmt.Errorf("%w: delete of %s", hwabstraction.ErrInvalidRule, id)
}

// entry returns what stands, or will stand, at an address.
func (b *batch) entry(a addr16) (*pending, error) {
	if p := b.dst[a]; p != nil {
		return p, nil
	}
	p := &pending{}
	err := b.d.tables.Dsts.Lookup(a, &p.entry)
	switch {
	case err == nil:
		p.existed = true
	case !errors.Is(err, ebpf.ErrKeyNotExist):
		return nil, fmt.Errorf("software: dsts: %w", err)
	}
	return p, nil
}

// touch notes that an entry changed.
func (b *batch) touch(a addr16, p *pending) {
	if b.dst[a] == nil {
		b.dst[a] = p
		b.order = append(b.order, a)
	}
}

// publish writes a rule into a fresh slot; it counts on where old did.
func (b *batch) publish(v *ruleSlot, old uint32) (uint32, error) {
	d := b.d
	at, ok := d.slots.take()
	if !ok {
		return 0, fmt.Errorf("%w: rules", hwabstraction.ErrTableFull)
	}
	next := d.counters.next
	if old != 0 {
		v.Counter = d.tables.rules.at[old].Counter
	} else if v.Counter, ok = d.counters.take(); !ok { // as many as slots: never
		d.slots.give(at)
		return 0, fmt.Errorf("%w: counters", hwabstraction.ErrTableFull)
	} else if v.Counter < d.virgin || d.counters.next == next { // taken before
		b.stale = append(b.stale, v.Counter)
	}
	d.tables.rules.at[at].publish(v)
	return at, nil
}

// retire frees a slot, its counter and its group's reference once the index no
// longer names it.
func (b *batch) retire(slot uint32) {
	if slot != 0 {
		b.retired = append(b.retired, retired{slot, true})
	}
}

// replaced is retire for a slot whose counter another one goes on with.
func (b *batch) replaced(slot uint32) {
	if slot != 0 {
		b.retired = append(b.retired, retired{slot, false})
	}
}

// flush makes the batch so far take effect: routes, then the index, then what
// was replaced goes.
func (b *batch) flush() {
	b.flushRoutes()
	b.d.changeZones(b.zones)
	b.zones = zoneChange{}
	b.d.zeroCounters(b.stale)
	b.stale = nil
	b.flushIndex()
	for _, r := range b.retired {
		b.release(r)
	}
	b.retired = nil
	b.flushRoutes()
	b.d.changeZones(b.zones)
	b.zones = zoneChange{}
}

func (b *batch) flushRoutes() {
	if len(b.routes) == 0 {
		return
	}
	for i, err := range b.d.rt.do(b.routes) {
		if old := b.gone[i]; old != nil {
			err = b.d.removedKernelRoute(old, err)
		}
		if err == nil || b.routeOf[i] < 0 {
			continue
		}
		r := &b.results[b.routeOf[i]]
		r.Placement = hwabstraction.PlacementNone
		r.Err = fmt.Errorf("software: kernel route for %s: %w", r.ID, routeError(err))
	}
	b.routes, b.routeOf = b.routes[:0], b.routeOf[:0]
	clear(b.gone)
}

// routeError tells a full table, of the kernel or of a switch that follows it,
// from other refusals.
func routeError(err error) error {
	if r, ok := errors.AsType[rtnl.Refusal](err); ok && r.Full() {
		return fmt.Errorf("%w: %w", hwabstraction.ErrTableFull, err)
	}
	return err
}

func (b *batch) flushIndex() {
	var keys []addr16
	var values []dstEntry
	for _, a := range b.order {
		p := b.dst[a]
		if p.entry == (dstEntry{}) {
			if err := b.d.tables.Dsts.Delete(a); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
				b.d.log.Error("dsts entry not deleted", "addr", a.addr(), "err", err)
			}
			continue
		}
		keys, values = append(keys, a), append(values, p.entry)
	}
	if len(keys) > 0 {
		if n, err := b.d.tables.Dsts.BatchUpdate(keys, values, nil); err != nil {
			b.writeSingly(keys[min(n, len(keys)):], values[min(n, len(keys)):])
		}
	}
	clear(b.dst)
	b.order = b.order[:0]
}

// writeSingly finds out which entries do not fit.
func (b *batch) writeSingly(keys []addr16, values []dstEntry) {
	for i, k := range keys {
		err := b.d.tables.Dsts.Put(k, values[i])
		if err == nil {
			continue
		}
		for _, m := range b.dst[k].made {
			b.retire(m.slot)
			r := &b.results[m.result]
			r.Placement = hwabstraction.PlacementNone
			r.Err = fmt.Errorf("%w: dsts: %w", hwabstraction.ErrTableFull, err)
		}
	}
}
