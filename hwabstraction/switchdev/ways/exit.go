package ways

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Exit finds where packets of a family go by default, and what does not go
// there. ErrUnclear where that is not one next hop, or where rules choose other
// tables for packets without a mark.
func (k *Kernel) Exit(ipv4 bool) (Exit, error) {
	family := netlink.FAMILY_V6
	if ipv4 {
		family = netlink.FAMILY_V4
	}
	if err := k.plainRules(family); err != nil {
		return Exit{}, err
	}
	main, err := k.table(family, unix.RT_TABLE_MAIN)
	if err != nil {
		return Exit{}, err
	}
	best, err := defaultRoute(main)
	if err != nil {
		return Exit{}, err
	}
	hop, err := k.hop(best, netip.Addr{})
	if err != nil {
		return Exit{}, err
	}
	local, err := k.table(family, unix.RT_TABLE_LOCAL)
	if err != nil {
		return Exit{}, err
	}
	return Exit{Hop: hop, Except: slices.Concat(others(main, best), destinations(local))}, nil
}

// plainRules fails where a rule concerns packets that come in at a VM's port.
func (k *Kernel) plainRules(family int) error {
	rules, err := k.nl.RuleList(family)
	if err != nil {
		return fmt.Errorf("ways: rules: %w", err)
	}
	for _, r := range rules {
		usual := r.Table == unix.RT_TABLE_LOCAL || r.Table == unix.RT_TABLE_MAIN || r.Table == unix.RT_TABLE_DEFAULT
		if !usual && r.Mark == 0 && r.IifName != "lo" {
			return fmt.Errorf("%w: rule %s", ErrUnclear, r)
		}
	}
	return nil
}

func (k *Kernel) table(family, table int) ([]netlink.Route, error) {
	routes, err := k.nl.RouteListFiltered(family, &netlink.Route{Table: table}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, fmt.Errorf("ways: routes of table %d: %w", table, err)
	}
	return routes, nil
}

func isDefault(r *netlink.Route) bool {
	p, ok := destination(r)
	return ok && p.Bits() == 0
}

// destination is the prefix of a route.
func destination(r *netlink.Route) (netip.Prefix, bool) {
	if r.Dst == nil {
		return netip.Prefix{}, true
	}
	return prefix(r.Dst)
}

func prefix(n *net.IPNet) (netip.Prefix, bool) {
	bits, size := n.Mask.Size()
	a, ok := netip.AddrFromSlice(n.IP)
	if ok && size == 32 {
		a = a.Unmap()
	}
	return netip.PrefixFrom(a, bits), ok
}

// defaultRoute is the one default route of the lowest metric.
func defaultRoute(routes []netlink.Route) (*netlink.Route, error) {
	var all []*netlink.Route
	for i := range routes {
		if isDefault(&routes[i]) {
			all = append(all, &routes[i])
		}
	}
	slices.SortStableFunc(all, func(a, b *netlink.Route) int { return cmp.Compare(a.Priority, b.Priority) })
	switch {
	case len(all) == 0:
		return nil, fmt.Errorf("%w: no default route", ErrUnclear)
	case len(all) > 1 && all[0].Priority == all[1].Priority:
		return nil, fmt.Errorf("%w: two default routes of metric %d", ErrUnclear, all[0].Priority)
	case !gateway(all[0]).IsValid():
		return nil, fmt.Errorf("%w: the default route has no gateway", ErrUnclear)
	}
	return all[0], nil
}

// others are the destinations of routes that go another way than best.
func others(routes []netlink.Route, best *netlink.Route) (out []netip.Prefix) {
	for i := range routes {
		r := &routes[i]
		same := r.Type == unix.RTN_UNICAST && r.LinkIndex == best.LinkIndex && gateway(r) == gateway(best) &&
			len(r.MultiPath) == 0 && r.MTU == best.MTU && r.Encap == nil
		if p, ok := destination(r); ok && p.IsValid() && p.Bits() > 0 && !same {
			out = append(out, p.Masked())
		}
	}
	return out
}

func destinations(routes []netlink.Route) (out []netip.Prefix) {
	for i := range routes {
		if p, ok := destination(&routes[i]); ok && p.IsValid() && p.Bits() > 0 {
			out = append(out, p.Masked())
		}
	}
	return out
}
