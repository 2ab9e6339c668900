package software

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// policyRules makes the policy rules that are missing, and says how many were.
func (d *Device) policyRules() (made int, err error) {
	marked := map[uint32]uint32{markDeliver: tableDeliver, markReject: tableLarge, markLarge: tableLarge}
	for _, mark := range d.mtus {
		marked[mark] = largeTable(mark)
	}
	for mark, table := range marked {
		n, err := d.policyRule(d.mark(mark), table)
		if made += n; err != nil {
			return made, err
		}
	}
	n, err := d.ownRule()
	return made + n, err
}

// largeTable is the table of an MTU's mark.
func largeTable(mark uint32) uint32 { return tableLarge + (mark-markLarge)>>16 }

// addRules adds a policy rule of each family, and says how many were missing.
func (d *Device) addRules(what string, of func() *netlink.Rule) (made int, err error) {
	for _, fam := range []int{unix.AF_INET, unix.AF_INET6} {
		r := of()
		r.Family = fam
		switch err := d.nl.RuleAdd(r); {
		case err == nil:
			made++
		case !errors.Is(err, unix.EEXIST):
			return made, fmt.Errorf("software: policy rule for %s: %w", what, err)
		}
	}
	return made, nil
}

func (d *Device) policyRule(mark, table uint32) (made int, err error) {
	mask := uint32(markMask)
	return d.addRules(fmt.Sprintf("mark %#x", mark), func() *netlink.Rule {
		r := netlink.NewRule()
		r.Mark, r.Mask, r.Table, r.Priority = mark, &mask, int(table), int(table)
		return r
	})
}

// ownRule leads what this host itself says to a VM on it, resets and ICMP
// errors, to the VM's port: such packets carry no mark.
func (d *Device) ownRule() (made int, err error) {
	return d.addRules("own packets", func() *netlink.Rule {
		r := netlink.NewRule()
		r.IifName, r.Table, r.Priority = "lo", tableDeliver, tableDeliver
		return r
	})
}

// mendPolicy makes policy rules again that somebody has deleted.
func (d *Device) mendPolicy() {
	d.locked(func() {
		n, err := d.policyRules()
		if n > 0 {
			d.mended.add(mendedPolicy, n)
			d.log.Warn("somebody has deleted policy rules of routing: they are put back", "rules", n)
		}
		if err != nil {
			d.log.Error("policy rules of routing are missing", "err", err)
		}
	})
}

// routeAt is where a route stands.
type routeAt struct {
	prefix netip.Prefix
	table  uint32
}

// everyRoute dumps the routes of every table that carry our protocol.
func (d *Device) everyRoute() (map[routeAt]*netlink.Route, error) {
	out := map[routeAt]*netlink.Route{}
	return out, d.eachRoute(unix.RT_TABLE_UNSPEC, func(p netip.Prefix, r *netlink.Route) { out[routeAt{p, uint32(r.Table)}] = r })
}

// mendRoutes writes routes again that somebody has deleted, or led elsewhere.
// There may be many: they are read without the lock, and with it only where one
// looks wrong.
func (d *Device) mendRoutes() {
	have, err := d.everyRoute()
	if err != nil {
		d.log.Warn("routes are not audited", "err", err)
		return
	}
	suspect := false
	d.locked(func() { suspect = len(d.missingRoutes(have)) > 0 })
	if !suspect {
		return
	}
	d.locked(func() {
		if have, err = d.everyRoute(); err != nil {
			d.log.Warn("routes are not audited", "err", err)
			return
		}
		missing := d.missingRoutes(have)
		msgs := make([]rtMessage, len(missing))
		for i, r := range missing {
			msgs[i] = routeMessage(unix.RTM_NEWROUTE, r)
		}
		n := 0
		for i, err := range d.rt.do(msgs) {
			if err != nil {
				d.log.Warn("a route that somebody has taken away is not put back", "prefix", missing[i].prefix, "table", missing[i].table, "err", err)
				continue
			}
			n++
		}
		if n > 0 {
			d.mended.add(mendedRoute, n)
			d.log.Warn("somebody has deleted or changed routes: they are put back", "routes", n, "first", missing[0].prefix, "table", missing[0].table)
		}
	})
}

// missingRoutes are those that should be there and are not, or lead elsewhere.
// A route to a port that is gone goes with it: it is not missed before the port
// is back. Caller holds apply.
func (d *Device) missingRoutes(have map[routeAt]*netlink.Route) (missing []route) {
	miss := func(want route) {
		if got := have[routeAt{want.prefix, want.table}]; got == nil || !want.leadsAs(got) {
			missing = append(missing, want)
		}
	}
	for _, k := range d.kernel {
		if !k.wait {
			miss(k.now)
		}
	}
	there := map[string]bool{} // ports; asked once each
	for a, slots := range d.restores {
		s := &d.tables.rules.at[d.newest(slots)]
		if d.tables.groups.at[s.Inst].state()&instReturning != 0 {
			continue // it leads back to the fabric, for as long as that takes
		}
		port := s.port()
		on, asked := there[port]
		if !asked {
			now, err := d.portIndex(port)
			on = err == nil && now == s.Ifindex
			there[port] = on
		}
		if on {
			miss(route{prefix: hostPrefix(a), table: tableDeliver, oif: s.Ifindex})
		}
	}
	if out, err := d.interfaceIndex(loopOut); err == nil {
		for mtu, mark := range d.mtus {
			for _, p := range defaults() {
				miss(route{prefix: p, table: largeTable(mark), oif: out, mtu: uint32(mtu)})
			}
		}
	}
	return missing
}

// leadsAs reports whether a route of the kernel leads where r does.
func (r route) leadsAs(got *netlink.Route) bool {
	if r.unreach {
		return got.Type == unix.RTN_UNREACHABLE
	}
	var via netip.Addr
	if gw, ok := netip.AddrFromSlice(got.Gw); ok {
		via = gw.Unmap()
	}
	if v, ok := got.Via.(*netlink.Via); ok {
		via, _ = netip.AddrFromSlice(v.Addr)
	}
	return uint32(got.LinkIndex) == r.oif && via == r.via
}
