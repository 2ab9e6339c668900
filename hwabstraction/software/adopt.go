package software

import (
	"github.com/dpmip/dpmip/hwabstraction"
)

// adopt reads what an earlier process left in the pinned maps. Slots that were
// written but never published, or not cleared after they went, are freed.
func (d *Device) adopt() error {
	journal := newSlotJournal(d)
	d.journal = journal
	if d.cfg.Journal != nil {
		d.journal = d.cfg.Journal
	}
	if err := d.adoptGroups(); err != nil {
		return err
	}
	size := uint32(len(d.tables.rules.at))
	d.slots = allocator{next: 1, size: size, reach: d.tables.rules.reach} // 0 = no rule
	found, err := d.findable()
	if err != nil {
		return err
	}
	counting := map[uint32]bool{0: true}
	for ; d.slots.next < d.slots.size; d.slots.next++ {
		at := d.slots.next
		if err := d.tables.rules.reach(at); err != nil {
			return err
		}
		s := &d.tables.rules.at[at]
		if s.Used == 0 {
			break
		}
		if s.Kind == 0 {
			d.slots.free = append(d.slots.free, at)
			continue
		}
		if !d.adoptSlot(journal, at, s, found[at]) {
			s.clear()
			d.slots.free = append(d.slots.free, at)
			continue
		}
		counting[s.Counter] = true
	}
	d.adoptCounters(counting, size)
	d.virgin = d.slots.next // a counter was never taken without a slot
	d.dropEmptyGroups()
	return d.adoptRoutes()
}

// adoptCounters finds which counters are free: those that no rule has. They
// are set to zero when they are taken.
func (d *Device) adoptCounters(used map[uint32]bool, size uint32) {
	d.counters = allocator{next: 1, size: size}
	for n := len(used) - 1; n > 0; d.counters.next++ {
		if used[d.counters.next] {
			n--
		} else {
			d.counters.free = append(d.counters.free, d.counters.next)
		}
	}
}

func (d *Device) adoptGroups() error {
	d.insts = allocator{size: uint32(len(d.tables.groups.at)), reach: d.tables.groups.reach}
	for ; d.insts.next < d.insts.size; d.insts.next++ {
		if err := d.tables.groups.reach(d.insts.next); err != nil {
			return err
		}
		s := &d.tables.groups.at[d.insts.next]
		switch s.Used {
		case instNever:
			return nil
		case instFree:
			d.insts.free = append(d.insts.free, d.insts.next)
		default:
			d.serial = max(d.serial, s.Serial)
			d.index[s.stamp()] = &group{at: d.insts.next, slot: s}
		}
	}
	return nil
}

// adoptSlot takes a slot over; false = it is nobody's. Rules that the index does
// not name were never published, or their removal was cut off.
func (d *Device) adoptSlot(j *slotJournal, at uint32, s *ruleSlot, found bool) bool {
	switch hwabstraction.Kind(s.Kind) {
	case hwabstraction.KindRedirect, hwabstraction.KindDeliver:
		return found && d.adoptIndexed(at, s)
	case hwabstraction.KindEgress:
		if found {
			d.sources[hwabstraction.EgressID(s.port(), s.Addr.addr())] = at
			d.opened[s.Ifindex]++
			d.zoneRefs[s.Addr.addr()]++
		}
		return found
	case hwabstraction.KindTrap:
		return found
	case hwabstraction.KindHostRoute, hwabstraction.KindUnreachable:
		j.adopt(at)
		return true
	}
	return false
}

func (d *Device) adoptIndexed(at uint32, s *ruleSlot) bool {
	g := d.index[s.stamp()]
	if g == nil {
		return false
	}
	g.refs++
	if s.Kind != uint8(hwabstraction.KindDeliver) {
		return true
	}
	if s.Flags&ruleHold != 0 {
		g.holds++
	}
	a := s.To.addr()
	d.restores[a] = append(d.restores[a], at)
	d.zoneRefs[a]++
	return true
}

// dropEmptyGroups removes groups whose rules never came, and holds whose port
// is gone.
func (d *Device) dropEmptyGroups() {
	for _, g := range d.index {
		if g.refs == 0 {
			d.discard(g)
			continue
		}
		at := g.slot.HoldIfindex
		if at == 0 {
			continue
		}
		if _, err := d.nl.LinkByIndex(int(at)); err != nil {
			d.log.Error("hold port is gone", "group", g.slot.stamp(), "err", err)
			g.slot.unset(instHold)
			g.slot.HoldIfindex = 0
		}
	}
}

// adoptRoutes takes over the routes of the journal and writes those again that
// the kernel has lost.
func (d *Device) adoptRoutes() error {
	hops := hopCache{}
	var bad []error
	d.journal.Range(func(key []byte, s hwabstraction.Stamp, payload []byte) bool {
		if len(key) == 0 || key[0] != 'r' {
			return true
		}
		rule, err := decodeRoute(key, s, payload)
		if err != nil {
			bad = append(bad, err)
			return true
		}
		now, err := d.resolve(rule, hops)
		d.kernel[rule.ID()] = &kernelRoute{rule: rule, now: now, wait: err != nil}
		return true
	})
	for _, err := range bad {
		d.log.Error("journal record ignored", "err", err)
	}
	have, err := d.ourRoutes()
	if err != nil {
		return err
	}
	for _, k := range d.kernel {
		if k.wait || have[k.now.prefix] != nil {
			continue
		}
		if err := d.rt.one(routeMessage(routeNew, k.now)); err != nil {
			d.log.Warn("route not written again", "rule", k.rule.ID(), "err", err)
		}
	}
	return nil
}
