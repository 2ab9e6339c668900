package software

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/hwabstraction"
)

// newSlot fills in what all kinds have.
func newSlot(r hwabstraction.Rule, a addr16) ruleSlot {
	s := r.Stamped()
	return ruleSlot{
		Kind: uint8(r.ID().Kind), Addr: a, Owner: s.Owner, Epoch: s.Epoch,
		Zone: hwabstraction.Zone(s.Owner), Bits: uint8(r.ID().Prefix.Bits()),
	}
}

// same reports whether a slot already says what v says.
func (s *ruleSlot) same(v *ruleSlot) bool {
	a, b := *s, *v
	a.Used, b.Used, a.TAT, b.TAT, a.Counter, b.Counter = 0, 0, 0, 0, 0, 0
	return a == b
}

// replaces checks the slot that stands at a rule's ID: done means that it is
// this very rule already.
func (b *batch) replaces(old uint32, v *ruleSlot) (done bool, err error) {
	if old == 0 {
		return false, nil
	}
	s := &b.d.tables.rules.at[old]
	if s.Epoch > v.Epoch {
		return false, fmt.Errorf("%w: epoch %d, put with %d", hwabstraction.ErrStale, s.Epoch, v.Epoch)
	}
	return s.same(v), nil
}

// putIndexed publishes a redirect or a delivery; which points at its place in
// the entry.
func (b *batch) putIndexed(i int, v *ruleSlot, g *group, p *pending, which *uint32) error {
	at, err := b.publish(v, *which)
	if err != nil {
		b.d.settle(g)
		return err
	}
	g.refs++
	if v.Flags&ruleHold != 0 {
		g.holds++
	}
	b.replaced(*which)
	*which = at
	p.made = append(p.made, made{at, i})
	b.touch(v.Addr, p)
	return nil
}

// settle discards a group that got no rule after all.
func (d *Device) settle(g *group) {
	if g.refs == 0 {
		d.discard(g)
	}
}

func (b *batch) putRedirect(i int, r hwabstraction.Redirect) error {
	v := newSlot(r, toAddr16(r.Address))
	v.To, v.Locator = toAddr16(r.To), toAddr16(r.Locator)
	v.Policy, v.MTU = uint8(r.New), r.PathMTU
	p, err := b.entry(v.Addr)
	if err != nil {
		return err
	}
	g, err := b.join(&v, p.entry.Redirect)
	if err != nil || g == nil {
		return err
	}
	if r.PathMTU != 0 {
		if err := b.d.ensureMTU(int(r.PathMTU)); err != nil {
			b.d.settle(g)
			return err
		}
	}
	return b.putIndexed(i, &v, g, p, &p.entry.Redirect)
}

// join finds the rule's group and completes v with it; nil and no error where
// the rule is there already.
func (b *batch) join(v *ruleSlot, old uint32) (*group, error) {
	if old != 0 && b.d.tables.rules.at[old].Epoch > v.Epoch {
		_, err := b.replaces(old, v)
		return nil, err
	}
	g, err := b.d.ensure(v.stamp())
	if err != nil {
		return nil, err
	}
	v.Inst = g.at
	if done, err := b.replaces(old, v); done || err != nil {
		return nil, err
	}
	return g, nil
}

func (b *batch) putDeliver(i int, r hwabstraction.Deliver) error {
	ifindex, err := b.d.portIndex(r.Port)
	if err != nil {
		return err
	}
	v := newSlot(r, toAddr16(r.Address))
	v.To, v.MAC, v.Port, v.Ifindex = toAddr16(r.Restore), r.MAC, portName(r.Port), ifindex
	if r.Hold {
		v.Flags |= ruleHold
	}
	p, err := b.entry(v.Addr)
	if err != nil {
		return err
	}
	g, err := b.join(&v, p.entry.Deliver)
	if err != nil || g == nil {
		return err
	}
	if r.Hold {
		if err := b.d.ensureHold(g); err != nil {
			b.d.settle(g)
			return err
		}
	}
	if err := b.putIndexed(i, &v, g, p, &p.entry.Deliver); err != nil {
		return err
	}
	slots := append(b.d.restores[r.Restore], p.entry.Deliver)
	b.d.restores[r.Restore] = slots
	b.zones.add(b.d, r.Restore, v.Zone)
	if top := b.d.newest(slots); top == p.entry.Deliver && g.slot.state()&instReturning == 0 {
		b.deliveryRoute(i, &v)
	}
	return nil
}

// newest is the slot with the highest epoch: it says where delivery goes.
func (d *Device) newest(slots []uint32) uint32 {
	var top uint32
	for _, s := range slots {
		if top == 0 || d.tables.rules.at[s].Epoch >= d.tables.rules.at[top].Epoch {
			top = s
		}
	}
	return top
}

// deliveryRoute makes marked packets for the restored address go to the port.
func (b *batch) deliveryRoute(i int, v *ruleSlot) {
	a := v.To.addr()
	b.routes = append(b.routes, routeMessage(unix.RTM_NEWROUTE, route{
		prefix: hostPrefix(a), table: tableDeliver, oif: v.Ifindex,
	}))
	b.routeOf = append(b.routeOf, i)
	if v.MAC != ([6]byte{}) {
		b.routes = append(b.routes, neighbour(unix.RTM_NEWNEIGH, a, v.Ifindex, v.MAC))
		b.routeOf = append(b.routeOf, i)
	}
}

// owned reports whether a delete with stamp s may remove the slot.
func (s *ruleSlot) owned(by hwabstraction.Stamp) bool {
	return s.Owner == by.Owner && s.Epoch <= by.Epoch
}

func (b *batch) removeIndexed(id hwabstraction.RuleID, s hwabstraction.Stamp) error {
	a := toAddr16(id.Prefix.Addr())
	p, err := b.entry(a)
	if err != nil {
		return err
	}
	which := &p.entry.Redirect
	if id.Kind == hwabstraction.KindDeliver {
		which = &p.entry.Deliver
	}
	if *which == 0 || !b.d.tables.rules.at[*which].owned(s) {
		return nil
	}
	b.retire(*which)
	*which = 0
	b.touch(a, p)
	return nil
}

// release frees a slot that nothing names any more.
func (b *batch) release(r retired) {
	d := b.d
	s := &d.tables.rules.at[r.slot]
	v := *s
	s.clear()
	d.slots.give(r.slot)
	if r.counter {
		d.counters.give(v.Counter)
	}
	kind := hwabstraction.Kind(v.Kind)
	if kind == hwabstraction.KindDeliver {
		b.releaseDelivery(r.slot, &v)
	}
	if kind != hwabstraction.KindDeliver && kind != hwabstraction.KindRedirect {
		return
	}
	g := d.index[v.stamp()]
	if g == nil {
		return
	}
	if v.Flags&ruleHold != 0 {
		g.holds--
		if g.holds == 0 {
			d.removeHold(g)
		}
	}
	d.unref(g)
}

// releaseDelivery removes the route of the restored address, or gives it back
// to the next newest delivery.
func (b *batch) releaseDelivery(at uint32, v *ruleSlot) {
	a := v.To.addr()
	slots := slices.DeleteFunc(b.d.restores[a], func(s uint32) bool { return s == at })
	b.zones.remove(b.d, a)
	if len(slots) > 0 {
		b.d.restores[a] = slots
		b.deliveryRoute(-1, &b.d.tables.rules.at[b.d.newest(slots)])
		return
	}
	delete(b.d.restores, a)
	b.routes = append(b.routes,
		routeMessage(unix.RTM_DELROUTE, route{prefix: hostPrefix(a), table: tableDeliver}),
		neighbour(unix.RTM_DELNEIGH, a, v.Ifindex, v.MAC))
	b.routeOf = append(b.routeOf, -1, -1)
}
