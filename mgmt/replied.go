package mgmt

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
)

// replied takes an answer to one of our messages.
func (c *Core) replied(e registration.Replied) {
	f := c.tokens[e.Token]
	if f == nil {
		return
	}
	delete(c.tokens, e.Token)
	f.token = 0
	delete(c.vol(f.vm).flights, f.owed.key)
	c.emit(Count{"messages_answered", f.owed.key.kind.String()})
	if !e.Reply.Status.Accepted() {
		c.emit(Count{"messages_refused", f.owed.key.kind.String()})
	}
	if c.tx.binding(f.vm) == nil {
		return
	}
	c.tx.touch(f.vm)
	r := e.Reply
	kind := f.owed.key.kind
	if !r.Status.Accepted() && r.Epoch > c.tx.binding(f.vm).Issued {
		if kind < abortStop || kind > abortGiveBack {
			c.jumpAbove(f, r)
			return
		}
		c.tx.edit(f.vm).jump(r.Epoch)
	}
	switch kind {
	case prepareDestination, prepareSource, abortStop, abortDisarm, abortGiveBack:
		c.moveReplied(f, r)
	case redirect, cold, keepAnchor:
		c.anchorReplied(f, r)
	case installRoute, withdrawRoute, keepRoute:
		c.routerReplied(f, r)
	case rehearseRoute, retractRoute:
		c.rehearsalReplied(f, r)
	case drained:
		c.drainReplied(f, r)
	}
}

// jumpAbove: a peer knows a higher epoch than was ever issued here; the store
// was restored from a backup. What is outstanding goes out again with an epoch
// above it.
func (c *Core) jumpAbove(f *flight, r registration.Reply) {
	if c.hearsOut(f) {
		c.again(f, r)
		return
	}
	b := c.tx.edit(f.vm)
	b.jump(r.Epoch)
	e, err := nextEpoch(b)
	if err != nil {
		c.emit(Note{Warning: true, Text: err.Error(), VM: f.vm, Peer: f.owed.key.peer, Epoch: r.Epoch})
		c.again(f, r)
		return
	}
	c.emit(Count{Name: "epoch_jumps"})
	c.emit(Note{Warning: true, Text: fmt.Sprintf("epoch jumped to %d: a peer knows %d", e, r.Epoch), VM: f.vm, Peer: f.owed.key.peer, Epoch: e})
	if m := c.tx.editMove(f.vm, b.Open); b.Open != 0 && m != nil && f.owed.request.Epoch == m.Epoch {
		c.tx.deleteMove(moveID{m.VM, m.Epoch})
		next := m.clone()
		c.dropProofs(next, "the epoch has jumped")
		next.Epoch, next.DestinationReady, next.SourceReady = e, false, false
		next.Proofs, next.ProveBy = nil, noTime
		if next.State == MoveReady {
			next.State = MovePreparing
		}
		next.phase(c.now, PhaseEpochJumped, fmt.Sprintf("%s knows epoch %d", f.owed.key.peer, r.Epoch))
		b.Open = e
		c.tx.putMove(next)
		return
	}
	b.Epoch = e
	for i := range b.Anchors {
		b.Anchors[i].Epoch, b.Anchors[i].Confirmed = e, false
	}
	for i := range b.Routes {
		if !b.Routes[i].Withdraw {
			b.Routes[i].Epoch, b.Routes[i].Confirmed = e, false
		}
	}
}

// hearOut is how long a hypervisor that was taken for an anchor, and knows a
// higher epoch, may take to say that it serves the VM in it.
const hearOut = 10 * time.Second

// hearsOut reports whether a hypervisor that does not redirect, because it knows a
// higher epoch, is still to be heard. Where policy takes the word of who serves a
// VM it is asked for it first: above its epoch it could not be adopted any more.
func (c *Core) hearsOut(f *flight) bool {
	kind, peer := f.owed.key.kind, f.owed.key.peer
	if !c.inv.Policy.AdoptHigherEpochs || kind != redirect && kind != cold && kind != keepAnchor {
		return false
	}
	v := c.vol(f.vm)
	since, asked := v.wiser[peer]
	switch {
	case !asked:
		if v.wiser == nil {
			v.wiser = map[string]time.Time{}
		}
		v.wiser[peer] = c.now
		c.run(c.node.Notify(c.now, f.to, reasonRegisterAgain, nil))
		return true
	case c.now.Sub(since) < hearOut:
		return true
	}
	delete(v.wiser, peer)
	return false
}

func (c *Core) moveReplied(f *flight, r registration.Reply) {
	b := c.tx.binding(f.vm)
	m := c.tx.move(f.vm, b.Open)
	if m == nil || m.Epoch != f.owed.request.Epoch || !m.State.before() {
		return
	}
	b, m = c.tx.edit(f.vm), c.tx.editMove(f.vm, b.Open)
	switch kind := f.owed.key.kind; {
	case kind != prepareDestination && kind != prepareSource:
		c.aborted(f, b, m, r)
	case m.State != MovePreparing:
	case !r.Status.Accepted():
		c.prepareRefused(f, m, r)
	case kind == prepareDestination:
		c.destinationPrepared(b, m, r)
	default:
		m.SourceReady = true
		m.phase(c.now, PhaseSourcePrepared, "")
		c.maybeReady(m)
	}
}

func (c *Core) prepareRefused(f *flight, m *Move, r registration.Reply) {
	// It may have reserved something at an earlier try whose answer was lost.
	c.abort(m, fmt.Sprintf("%s refused to prepare: %s (%d)", f.owed.key.peer, r.Status, uint8(r.Status)))
}

func (c *Core) destinationPrepared(b *Binding, m *Move, r registration.Reply) {
	h := c.inv.Hypervisors[m.To]
	if h == nil {
		c.abort(m, m.To+" was taken out of the inventory")
		return
	}
	err := checkDeliveries(h.Pooled, b, r.Deliveries, nil)
	if err == nil && m.Options.Mode != mobility.ModeCold {
		err = complete(m.Addrs, r.Deliveries)
	}
	if err == nil {
		err = c.unused(m.VM, r.Deliveries)
	}
	if err != nil {
		c.abort(m, fmt.Sprintf("%s prepared wrongly: %v", m.To, err))
		return
	}
	if !slices.Equal(m.Deliveries, r.Deliveries) {
		m.Deliveries, m.SourceReady = slices.Clone(r.Deliveries), false
	}
	m.DestinationReady = true
	m.SourceTold = m.SourceTold || m.needsSource()
	m.phase(c.now, PhaseDestinationPrepared, "")
	c.planProofs(m)
	c.maybeReady(m)
}

func complete(addrs []netip.Addr, deliveries []mobility.Delivery) error {
	for _, a := range addrs {
		if !slices.ContainsFunc(deliveries, func(d mobility.Delivery) bool { return d.Old == a }) {
			return mobility.Refuse(mobility.StatusPairMismatch, "no delivery address for %s", a)
		}
	}
	return nil
}

// unused refuses delivery addresses that are in quarantine for another VM.
func (c *Core) unused(vm mobility.VMID, deliveries []mobility.Delivery) error {
	for _, d := range deliveries {
		if owner, taken := c.byAddr[d.D]; taken && owner != vm {
			return mobility.Refuse(addressStatus(d.D), "delivery address %s is in quarantine for vm %s", d.D, owner)
		}
	}
	return nil
}

// maybeReady: both have prepared, and the network has been seen to be ready.
func (c *Core) maybeReady(m *Move) {
	if m.State != MovePreparing || !m.DestinationReady || !m.SourceReady && m.needsSource() {
		return
	}
	if m.ProveBy.IsZero() && len(m.Proofs) > 0 {
		c.askProofs(m)
	}
	c.retract(m)
	switch {
	case m.missing() != "":
		c.abort(m, "not proved: "+m.missing())
	case m.proving() || c.onStage(m):
	default:
		m.State = MoveReady
		m.phase(c.now, PhaseReady, "")
		c.emit(Note{Text: "ready: " + m.From + " -> " + m.To, VM: m.VM, Peer: m.To, Epoch: m.Epoch})
	}
}

func (c *Core) anchorReplied(f *flight, r registration.Reply) {
	b := c.tx.edit(f.vm)
	a := b.anchor(f.owed.key.peer)
	switch {
	case a == nil || a.Epoch != f.owed.request.Epoch || a.Cold != (f.owed.key.kind == cold):
		return
	case f.owed.key.kind == keepAnchor && !a.Confirmed:
		return // it was asked before there was something new to confirm
	case r.Status == mobility.StatusNotVMForThisNode && !c.keeps(b, a):
		// It has lost the VM, and with it what it would redirect.
		b.dropAnchor(a.Hypervisor)
		c.advance(b)
		return
	case !r.Status.Accepted() && !(a.Cold && r.Status == mobility.StatusNotVMForThisNode):
		a.Confirmed = false
		c.again(f, r)
		return
	}
	c.keptNow(f.vm, a.Hypervisor)
	if !a.Confirmed {
		a.Confirmed, a.Draining = true, nil
		if m := c.tx.editMove(f.vm, b.Last); b.Last != 0 && m != nil {
			m.phase(c.now, PhaseAnchorConfirmed, a.Hypervisor)
		}
	}
	c.advance(b)
}

func (c *Core) routerReplied(f *flight, r registration.Reply) {
	b := c.tx.edit(f.vm)
	router, kind := f.owed.key.peer, f.owed.key.kind
	addrs := make([]netip.Addr, 0, len(f.owed.request.Pairs))
	for _, p := range f.owed.request.Pairs {
		addrs = append(addrs, p.Old)
	}
	mine := func(x Route) bool {
		return x.Router == router && slices.Contains(addrs, x.Addr) && x.Withdraw == (kind == withdrawRoute)
	}
	if f.owed.request.Epoch != b.Epoch {
		return
	}
	gone := kind == withdrawRoute && r.Status == mobility.StatusNotVMForThisNode
	if !r.Status.Accepted() && !gone {
		c.again(f, r)
		if r.Status == mobility.StatusResources {
			c.full(router, f.vm, len(addrs))
			c.withdrawInstead(b, mine)
		}
		return
	}
	if kind == withdrawRoute {
		b.Routes = slices.DeleteFunc(b.Routes, mine)
		c.roomAt(router)
	}
	confirmed := false
	for i := range b.Routes {
		if mine(b.Routes[i]) {
			confirmed = confirmed || !b.Routes[i].Confirmed
			b.Routes[i].Confirmed = true
		}
	}
	c.keptNow(f.vm, router)
	if kind == installRoute {
		c.took(router, f.vm)
	}
	if m := c.tx.editMove(f.vm, b.Last); confirmed && b.Last != 0 && m != nil {
		m.phase(c.now, PhaseRouteConfirmed, router)
	}
	c.advance(b)
}

// withdrawInstead: a router has no room for what it was to replace, so it does
// not hold it, or not all of it.
func (c *Core) withdrawInstead(b *Binding, mine func(Route) bool) {
	changed := false
	for i := range b.Routes {
		if r := &b.Routes[i]; mine(*r) && c.replaced(b, r) {
			r.Withdraw, changed = true, true
		}
	}
	if changed {
		c.advance(b)
	}
}

func (c *Core) drainReplied(f *flight, r registration.Reply) {
	b := c.tx.edit(f.vm)
	if b.Hypervisor != f.owed.key.peer || b.Epoch != f.owed.request.Epoch {
		return
	}
	if !r.Status.Accepted() && r.Status != mobility.StatusNotVMForThisNode {
		c.again(f, r)
		return
	}
	for _, p := range f.owed.request.Pairs {
		if o := b.old(p.Old); o != nil && o.State != OldReleasing {
			continue
		}
		b.Deliveries = slices.DeleteFunc(b.Deliveries, func(d mobility.Delivery) bool { return d.Old == p.Old })
		if slices.Contains(b.Slots, p.Old) {
			continue
		}
		b.Old = slices.DeleteFunc(b.Old, func(o OldAddress) bool { return o.Addr == p.Old })
		b.quarantine(p.Old, c.now.Add(c.inv.Lifetimes.Quarantine))
		if m := c.tx.editMove(f.vm, b.Last); b.Last != 0 && m != nil {
			m.phase(c.now, PhaseDrained, p.Old.String())
		}
	}
	c.advance(b)
}
