package software

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/hwabstraction"
)

const routeNew = unix.RTM_NEWROUTE

// ourRoutes dumps the routes of the main table that carry our protocol, but for
// default routes.
func (d *Device) ourRoutes() (map[netip.Prefix]*netlink.Route, error) {
	out := map[netip.Prefix]*netlink.Route{}
	return out, d.eachRoute(unix.RT_TABLE_MAIN, func(p netip.Prefix, r *netlink.Route) {
		if r.Dst != nil {
			out[p] = r
		}
	})
}

// eachRoute dumps the routes of a table (RT_TABLE_UNSPEC: of all) that carry our
// protocol.
func (d *Device) eachRoute(table int, f func(netip.Prefix, *netlink.Route)) error {
	for i, fam := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		rs, err := d.nl.RouteListFiltered(fam, &netlink.Route{Protocol: protocol, Table: table},
			netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE)
		if err != nil {
			return fmt.Errorf("software: list routes: %w", err)
		}
		for _, r := range rs {
			p := defaults()[i]
			if r.Dst != nil {
				a, ok := netip.AddrFromSlice(r.Dst.IP)
				if !ok {
					continue
				}
				if fam == netlink.FAMILY_V4 {
					a = a.Unmap()
				}
				bits, _ := r.Dst.Mask.Size()
				p = netip.PrefixFrom(a, bits)
			}
			f(p, &r)
		}
	}
	return nil
}

// Rules implements hwabstraction.Device: rules as the pinned maps and the
// kernel's tables hold them.
func (d *Device) Rules(ctx context.Context) ([]hwabstraction.RuleStatus, error) {
	d.apply.Lock()
	defer d.apply.Unlock()
	if d.isClosed() {
		return nil, hwabstraction.ErrClosed
	}
	found, err := d.findable()
	if err != nil {
		return nil, err
	}
	out := make([]hwabstraction.RuleStatus, 0, d.slots.next)
	guarded := map[uint32]bool{} // ports with their program; asked once each
	for at := uint32(1); at < d.slots.next; at++ {
		if at%1024 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		s := &d.tables.rules.at[at]
		if s.Kind == 0 || s.Kind == uint8(hwabstraction.KindHostRoute) || s.Kind == uint8(hwabstraction.KindUnreachable) {
			continue
		}
		out = append(out, d.readSlot(s, found[at], guarded))
	}
	return d.readRoutes(out)
}

func (d *Device) readRoutes(out []hwabstraction.RuleStatus) ([]hwabstraction.RuleStatus, error) {
	if len(d.kernel) == 0 {
		return out, nil
	}
	have, err := d.ourRoutes()
	if err != nil {
		return nil, err
	}
	for _, k := range d.kernel {
		st := hwabstraction.RuleStatus{Rule: k.rule, On: true}
		if r := have[k.now.prefix]; r != nil {
			st.Placement = routePlacement(r.Flags)
		}
		out = append(out, st)
	}
	return out, nil
}

// routePlacement is where a route is by its flags, RTM_F_*. A switch that follows
// the kernel's routes marks those that it forwards by; one that it traps, or has
// refused, is the kernel's.
func routePlacement(flags int) hwabstraction.Placement {
	if flags&unix.RTM_F_OFFLOAD != 0 && flags&(unix.RTM_F_TRAP|unix.RTM_F_OFFLOAD_FAILED) == 0 {
		return hwabstraction.PlacementHardwareStateless
	}
	return hwabstraction.PlacementKernelRoute
}

// readSlot turns a slot back into its rule; found says whether the programs find
// it. The ports that were asked for their program are in guarded.
func (d *Device) readSlot(s *ruleSlot, found bool, guarded map[uint32]bool) hwabstraction.RuleStatus {
	st := hwabstraction.RuleStatus{Rule: s.rule(), On: true}
	switch hwabstraction.Kind(s.Kind) {
	case hwabstraction.KindEgress:
		on, known := guarded[s.Ifindex]
		if !known {
			on = d.attached(s.Ifindex, 0)
			guarded[s.Ifindex] = on
		}
		found = found && on
	case hwabstraction.KindDeliver:
		st.On = d.tables.groups.at[s.Inst].state()&instActive != 0
	case hwabstraction.KindRedirect:
		st.On = d.tables.groups.at[s.Inst].state()&instArmed != 0
	}
	if found {
		st.Placement = hwabstraction.PlacementEBPF
	}
	return st
}

// rule is the rule that a slot was made from.
func (s *ruleSlot) rule() hwabstraction.Rule {
	switch hwabstraction.Kind(s.Kind) {
	case hwabstraction.KindRedirect:
		return hwabstraction.Redirect{
			Stamp: s.stamp(), Address: s.Addr.addr(), To: s.To.addr(), Locator: s.Locator.addr(),
			New: hwabstraction.NewFlows(s.Policy), PathMTU: s.MTU,
		}
	case hwabstraction.KindDeliver:
		return hwabstraction.Deliver{
			Stamp: s.stamp(), Address: s.Addr.addr(), Restore: s.To.addr(), Port: s.port(),
			MAC: s.MAC, Hold: s.Flags&ruleHold != 0,
		}
	case hwabstraction.KindEgress:
		return hwabstraction.Egress{Stamp: s.stamp(), Port: s.port(), Source: s.Addr.addr(), MAC: s.MAC}
	case hwabstraction.KindTrap:
		return hwabstraction.Trap{Stamp: s.stamp(), Address: s.Addr.addr(), Protocol: s.Proto, DstPort: s.DstPort, Rate: s.Rate}
	}
	return nil
}

// slotOf finds the slot of a rule; 0 = none.
func (d *Device) slotOf(id hwabstraction.RuleID) uint32 {
	a := toAddr16(id.Prefix.Addr())
	var e dstEntry
	var at uint32
	switch id.Kind {
	case hwabstraction.KindRedirect:
		if d.tables.Dsts.Lookup(a, &e) == nil {
			at = e.Redirect
		}
	case hwabstraction.KindDeliver:
		if d.tables.Dsts.Lookup(a, &e) == nil {
			at = e.Deliver
		}
	case hwabstraction.KindTrap:
		d.tables.Traps.Lookup(trapKey{Addr: a, Class: trapClass(id.Protocol, id.DstPort)}, &at)
	case hwabstraction.KindEgress:
		if ifindex, err := d.portIndex(id.Port); err == nil {
			d.tables.Sources.Lookup(egressKey{Addr: a, Ifindex: ifindex}, &at)
		}
	}
	return at
}

// Counters implements hwabstraction.Device. Kernel routes have none.
func (d *Device) Counters(ctx context.Context, ids []hwabstraction.RuleID) (map[hwabstraction.RuleID]hwabstraction.Counter, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.closed {
		return nil, hwabstraction.ErrClosed
	}
	out := make(map[hwabstraction.RuleID]hwabstraction.Counter, len(ids))
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			return out, err
		}
		at := d.slotOf(id)
		if at == 0 {
			continue
		}
		var per []counterValue
		if err := d.tables.Counters.Lookup(d.tables.rules.at[at].Counter, &per); err != nil {
			return out, fmt.Errorf("software: counter of %s: %w", id, err)
		}
		out[id] = sum(per)
	}
	return out, nil
}

func sum(per []counterValue) hwabstraction.Counter {
	var c hwabstraction.Counter
	var last uint64
	for _, v := range per {
		c.Packets += v.Packets
		c.Bytes += v.Bytes
		last = max(last, v.Last)
	}
	c.LastUse = wall(last)
	return c
}

// zeroCounters makes counters start anew. It is not needed for those that were
// never taken: from virgin on, and just taken for the first time.
func (d *Device) zeroCounters(at []uint32) {
	if len(at) == 0 {
		return
	}
	cpus, err := ebpf.PossibleCPU()
	if err == nil {
		_, err = d.tables.Counters.BatchUpdate(at, make([]counterValue, len(at)*cpus), nil)
	}
	if err != nil {
		d.log.Error("counters not reset", "counters", len(at), "err", err)
	}
}

// Drops implements hwabstraction.Device. Reasons: source_guard, hold_full,
// new_flow (also those rejected), no_route, trap_rate, trap_full, malformed (of
// a VM). The stack answers for hop_limit and too_big. flow_overflow were
// redirected unjudged.
func (d *Device) Drops(ctx context.Context) (hwabstraction.Drops, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.closed {
		return nil, hwabstraction.ErrClosed
	}
	out := hwabstraction.Drops{}
	for i, name := range dropNames {
		if err := ctx.Err(); err != nil {
			return out, err
		}
		var per []counterValue
		if err := d.tables.Drops.Lookup(uint32(i), &per); err != nil {
			return out, fmt.Errorf("software: drop counter %s: %w", name, err)
		}
		out[name] = sum(per).Packets
	}
	return out, nil
}

// Zone is the conntrack zone of a VM's address; false where no rule names it.
// It is what flows.Config wants.
func (d *Device) Zone(a netip.Addr) (uint16, bool) {
	d.apply.Lock()
	defer d.apply.Unlock()
	if d.isClosed() {
		return 0, false
	}
	if slots := d.restores[a]; len(slots) > 0 {
		return d.tables.rules.at[d.newest(slots)].Zone, true
	}
	for id, at := range d.sources {
		if id.Prefix.Addr() == a {
			return d.tables.rules.at[at].Zone, true
		}
	}
	var e dstEntry // a VM that has left: its redirect is of the same owner
	if err := d.tables.Dsts.Lookup(toAddr16(a), &e); err == nil && e.Redirect != 0 {
		return d.tables.rules.at[e.Redirect].Zone, true
	}
	return 0, false
}
