package software

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/hwabstraction"
)

// kernelRoute is a HostRoute or Unreachable and what was written for it.
type kernelRoute struct {
	rule hwabstraction.Rule
	now  route
	wait bool // its locator or port had no way at the last try
}

func defaults() []netip.Prefix {
	return []netip.Prefix{
		netip.PrefixFrom(netip.IPv4Unspecified(), 0),
		netip.PrefixFrom(netip.IPv6Unspecified(), 0),
	}
}

// hop is where the FIB sends packets for an address.
type hop struct {
	via netip.Addr // invalid: on the link itself
	oif uint32
}

// nextHop asks the FIB, without our marks.
func (d *Device) nextHop(a netip.Addr) (hop, error) {
	rs, err := d.nl.RouteGet(a.AsSlice())
	if err != nil {
		return hop{}, fmt.Errorf("software: no route to %s: %w", a, err)
	}
	for _, r := range rs {
		if r.Type != unix.RTN_UNICAST && r.Type != 0 || r.LinkIndex == 0 {
			continue
		}
		h := hop{oif: uint32(r.LinkIndex)}
		switch via := r.Via.(type) {
		case *netlink.Via:
			h.via, _ = netip.AddrFromSlice(via.Addr)
		default:
			if gw, ok := netip.AddrFromSlice(r.Gw); ok && !gw.IsUnspecified() {
				h.via = gw.Unmap()
			}
		}
		return h, nil
	}
	return hop{}, fmt.Errorf("software: no unicast route to %s", a)
}

// hopCache remembers next hops within one pass.
type hopCache map[netip.Addr]hop

func (c hopCache) get(d *Device, a netip.Addr) (hop, error) {
	if h, ok := c[a]; ok {
		return h, nil
	}
	h, err := d.nextHop(a)
	if err == nil {
		c[a] = h
	}
	return h, err
}

// resolve says how a rule is to be routed now.
func (d *Device) resolve(rule hwabstraction.Rule, hops hopCache) (route, error) {
	switch r := rule.(type) {
	case hwabstraction.Unreachable:
		return route{prefix: r.Prefix.Masked(), table: unix.RT_TABLE_MAIN, metric: unreachableMetric, unreach: true}, nil
	case hwabstraction.HostRoute:
		out := route{prefix: hostPrefix(r.Address), table: unix.RT_TABLE_MAIN, metric: r.Metric}
		if out.metric == 0 {
			out.metric = DefaultMetric
		}
		if r.Port != "" {
			ifindex, err := d.portIndex(r.Port)
			out.oif = ifindex
			return out, err
		}
		h, err := hops.get(d, r.Locator)
		if err != nil {
			return out, err
		}
		if !h.via.IsValid() {
			h.via = r.Locator // on the link: the locator is the next hop
		}
		out.via, out.oif = h.via, h.oif
		return out, nil
	}
	return route{}, fmt.Errorf("%w: %T", hwabstraction.ErrNotSupported, rule)
}

func (b *batch) putHostRoute(i int, r hwabstraction.HostRoute) error { return b.putKernelRoute(i, r) }

func (b *batch) putUnreachable(i int, r hwabstraction.Unreachable) error {
	r.Prefix = r.Prefix.Masked()
	return b.putKernelRoute(i, r)
}

// putKernelRoute journals the owner first: a route without one would stay for
// ever.
func (b *batch) putKernelRoute(i int, rule hwabstraction.Rule) error {
	d := b.d
	old := d.kernel[rule.ID()]
	if old != nil && old.rule.Stamped().Epoch > rule.Stamped().Epoch {
		return fmt.Errorf("%w: epoch %d, put with %d", hwabstraction.ErrStale, old.rule.Stamped().Epoch, rule.Stamped().Epoch)
	}
	want, err := d.resolve(rule, b.hops)
	if err != nil {
		return err
	}
	if old == nil || old.rule != rule {
		if err := d.journal.Put(routeKey(rule.ID()), rule.Stamped(), encodeRoute(rule)); err != nil {
			return fmt.Errorf("%w: journal: %w", hwabstraction.ErrTableFull, err)
		}
	}
	b.routes = append(b.routes, routeMessage(unix.RTM_NEWROUTE, want))
	b.routeOf = append(b.routeOf, i)
	if old != nil && old.now.metric != want.metric {
		b.routes = append(b.routes, routeMessage(unix.RTM_DELROUTE, route{prefix: old.now.prefix, table: old.now.table, metric: old.now.metric}))
		b.routeOf = append(b.routeOf, -1)
	}
	d.kernel[rule.ID()] = &kernelRoute{rule: rule, now: want}
	return nil
}

func (b *batch) removeKernelRoute(i int, id hwabstraction.RuleID, s hwabstraction.Stamp) error {
	d := b.d
	id.Prefix = id.Prefix.Masked()
	old := d.kernel[id]
	if old == nil || old.rule.Stamped().Owner != s.Owner || old.rule.Stamped().Epoch > s.Epoch {
		return nil
	}
	delete(d.kernel, id)
	b.routes = append(b.routes, routeMessage(unix.RTM_DELROUTE, route{prefix: old.now.prefix, table: old.now.table, metric: old.now.metric}))
	b.routeOf = append(b.routeOf, i)
	if b.gone == nil {
		b.gone = map[int]*kernelRoute{}
	}
	b.gone[len(b.routes)-1] = old
	return nil
}

// removedKernelRoute takes the kernel's answer to a delete: the record goes after
// the route.
func (d *Device) removedKernelRoute(old *kernelRoute, err error) error {
	id := old.rule.ID()
	if err != nil && !errors.Is(err, unix.ESRCH) {
		if d.kernel[id] == nil {
			d.kernel[id] = old
		}
		return err
	}
	if d.kernel[id] != nil { // put again meanwhile: the record is of that one
		return nil
	}
	if err := d.journal.Delete(routeKey(id)); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return nil
}

// follow resolves every route with a locator or port again and replaces those
// that changed. Where there is no way now, the route stays as it is.
func (d *Device) follow() {
	d.apply.Lock()
	defer d.apply.Unlock()
	if d.isClosed() {
		return
	}
	d.forgetPorts()
	if err := d.ensureFabricMTUs(); err != nil {
		d.log.Warn("MTU of the fabric not followed", "err", err)
	}
	var msgs []rtMessage
	var of []*kernelRoute
	hops := hopCache{}
	for _, k := range d.kernel {
		want, err := d.resolve(k.rule, hops)
		k.wait = err != nil
		if err != nil || want == k.now {
			continue
		}
		msgs, of = append(msgs, routeMessage(unix.RTM_NEWROUTE, want)), append(of, k)
		k.now = want
	}
	for i, err := range d.rt.do(msgs) {
		if err != nil {
			of[i].wait = true
			d.log.Warn("route not replaced", "rule", of[i].rule.ID(), "err", err)
		}
	}
}
