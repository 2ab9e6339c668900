package mgmt

import (
	"net/netip"
	"slices"
	"time"

	"github.com/dpmip/dpmip/mobility"
)

// advance does what has become possible by a confirmation or an agreement:
// routes that may go, old addresses that have drained, moves that are done.
func (c *Core) advance(b *Binding) {
	b.Anchors = slices.DeleteFunc(b.Anchors, func(a Anchor) bool { return a.Cold && a.Confirmed })
	c.drainOld(b)
	c.dropYields(b)
	c.unroute(b)
	c.proveRoutes(b)
	c.proveDeparture(b)
	c.releaseOld(b)
	c.advanceMove(b)
}

// drainOld finds old addresses that nobody redirects any more and that nobody
// uses where the VM is.
func (c *Core) drainOld(b *Binding) {
	for i := range b.Old {
		o := &b.Old[i]
		if o.State == OldLive && !b.redirected(o.Addr) && (o.Quiet || !c.direct(b, o.Addr)) {
			o.State = OldUnrouted
		}
	}
}

// direct reports whether an old address reaches the VM without an anchor: at
// its home, by host routes, or from VMs beside it.
func (c *Core) direct(b *Binding, a netip.Addr) bool {
	return c.inv.Home(a) == b.Hypervisor || b.Options.New == mobility.PolicyRedirect
}

// releaseOld, unless a move is open that has listed the address, goes from withdrawn routes to the release of the address.
func (c *Core) releaseOld(b *Binding) {
	for i := range b.Old {
		o := &b.Old[i]
		if o.State == OldUnrouted && b.Open == 0 && !slices.ContainsFunc(b.Routes, func(r Route) bool { return r.Addr == o.Addr }) {
			o.State = OldReleasing
		}
	}
}

// redirected reports whether an anchor may still redirect the address.
func (b *Binding) redirected(a netip.Addr) bool {
	return slices.ContainsFunc(b.Anchors, func(x Anchor) bool {
		return !x.Cold && slices.Contains(x.Addrs, a) || slices.Contains(x.Draining, a)
	})
}

// advanceMove moves the committed move on: confirmed by all, drained, done.
func (c *Core) advanceMove(b *Binding) {
	if b.Last == 0 {
		return
	}
	m := c.tx.editMove(b.VM, b.Last)
	if m == nil {
		b.Last = 0
		return
	}
	if m.State == MoveCommitted && b.confirmed() && !c.routesOwed(b) {
		m.State = MoveDraining
		m.phase(c.now, PhaseConfirmed, "")
	}
	if m.State == MoveDraining && c.settled(b) && !m.provingRoutes() {
		m.ProveBy = noTime
		m.State = MoveDone
		m.phase(c.now, PhaseDone, "")
		b.Last = 0
		c.emit(Count{"moves", "done"})
	}
}

// settled reports whether only what lasts is left: the redirects of kept
// addresses at their homes, and their routes.
func (c *Core) settled(b *Binding) bool {
	if len(b.Old) > 0 || len(c.spare(b)) > 0 || slices.ContainsFunc(b.Routes, func(r Route) bool { return r.Withdraw }) {
		return false
	}
	for i := range b.Anchors {
		if len(b.Anchors[i].Draining) > 0 {
			return false
		}
		for _, a := range b.Anchors[i].Addrs {
			if !slices.Contains(b.Slots, a) || c.inv.Home(a) != b.Anchors[i].Hypervisor {
				return false
			}
		}
	}
	return true
}

// emptied reports whether nothing of a VM that is gone is left to be told.
func (c *Core) emptied(b *Binding) bool {
	return len(b.Anchors) == 0 && len(b.Routes) == 0 && !b.rehearsing() && len(b.Quarantine) == 0 && len(b.Leaving) == 0 && b.Open == 0
}

// expire does for one VM what time has brought about.
func (c *Core) expire(vm mobility.VMID) {
	b := c.tx.binding(vm)
	if b == nil {
		return
	}
	c.prune(vm)
	switch {
	case !b.Grace.IsZero() && !c.now.Before(b.Grace):
		c.leave(c.tx.edit(vm), "deregistered")
	case b.Hypervisor != "" && b.Grace.IsZero() && c.lapsed(b):
		c.leave(c.tx.edit(vm), "expired while its hypervisor was up")
	case !b.Gone.IsZero() && c.emptied(b) && c.now.Sub(b.Gone) >= c.inv.Lifetimes.History:
		c.tx.remove(vm)
		return
	}
	if slices.ContainsFunc(b.Quarantine, func(q Quarantined) bool { return c.released(b, q) }) {
		c.endQuarantine(c.tx.edit(vm))
	}
	if m := c.tx.move(vm, b.Open); m != nil && m.State != MoveAborting && !m.Deadline.IsZero() && !c.now.Before(m.Deadline) {
		c.abort(c.tx.editMove(vm, b.Open), "no COMMIT within the prepare time-out")
	}
	if m := c.tx.move(vm, b.Open); m != nil && m.State == MovePreparing && (m.proving() || c.onStage(m)) && !m.ProveBy.IsZero() && !c.now.Before(m.ProveBy) {
		c.proofsDue(c.tx.editMove(vm, b.Open))
	}
	c.routesDue(c.tx.binding(vm))
	c.departureDue(vm)
}

// leave ends a binding: anchors and routers are told to forget the VM, its
// addresses go to quarantine, the epoch is remembered.
func (c *Core) leave(b *Binding, why string) {
	e, err := nextEpoch(b)
	if err != nil {
		e = b.Epoch
	}
	c.emit(Note{Text: "the VM is gone: " + why, VM: b.VM, Peer: b.Hypervisor, Epoch: e})
	if m := c.tx.editMove(b.VM, b.Open); b.Open != 0 && m != nil {
		c.abort(m, "the VM is gone: "+why)
	}
	c.planDeparture(b)
	until := c.now.Add(c.inv.Lifetimes.Quarantine)
	for _, a := range b.Slots {
		b.quarantine(a, until)
	}
	for _, o := range b.Old {
		b.quarantine(o.Addr, until)
	}
	for i := range b.Anchors {
		a := &b.Anchors[i]
		a.Epoch, a.Cold, a.Confirmed = e, true, false
	}
	b.Epoch, b.Base, b.Hypervisor, b.Grace, b.Gone = e, e, "", noTime, c.now
	b.Slots, b.Old, b.Deliveries, b.Yields = nil, nil, nil, nil
	if m := c.tx.editMove(b.VM, b.Last); b.Last != 0 && m != nil {
		c.dropProofs(m, "the VM is gone")
		m.State = MoveDone
		m.phase(c.now, PhaseDone, "the VM is gone")
		b.Last = 0
	}
	c.advance(b)
}

func (b *Binding) quarantine(a netip.Addr, until time.Time) {
	if !slices.ContainsFunc(b.Quarantine, func(q Quarantined) bool { return q.Addr == a }) {
		b.Quarantine = append(b.Quarantine, Quarantined{a, until})
	}
}

// lapsed reports whether the binding's lifetime is over although its hypervisor
// could have refreshed it. A hypervisor that is away, or a management node that
// was, ends no binding: expiry alone never cuts a living VM.
func (c *Core) lapsed(b *Binding) bool {
	t := c.expiry(b)
	k := c.contacts[b.Hypervisor]
	if c.now.Before(t) || k == nil || !k.up {
		return false
	}
	return !c.now.Before(later(t, k.since).Add(b.Lifetime.Duration()))
}

// expiry is when the binding's lifetime ends: after a restart of this program
// not before a full one has passed.
func (c *Core) expiry(b *Binding) time.Time {
	return later(b.Expires, c.started.Add(b.Lifetime.Duration()))
}

// lookAgain is when lapsed may change.
func (c *Core) lookAgain(b *Binding) time.Time {
	t := c.expiry(b)
	if t.After(c.now) {
		return t
	}
	if k := c.contacts[b.Hypervisor]; k != nil && k.up {
		return later(later(t, k.since).Add(b.Lifetime.Duration()), c.now.Add(mobility.LifetimeUnit))
	}
	return c.now.Add(max(b.Lifetime.Duration(), mobility.LifetimeUnit))
}
