package mgmt

import (
	"net/netip"
	"slices"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
)

// takeOver decides a registration by a hypervisor that does not serve the VM:
// the COMMIT of a prepared move, or a plain move where tickets are off.
func (c *Core) takeOver(q *question) error {
	r := &q.Request
	switch {
	case c.adopts(q):
		return c.adopt(q)
	case q.open != nil && q.open.To == q.host.Name && c.entitled(q):
		return c.commitMove(q, q.open)
	case !r.Ticket.IsZero():
		c.foreign(q)
		return mobility.Refuse(mobility.StatusProhibited, "the ticket is not valid for vm %s at %s, epoch %d", r.VM, q.host.Name, r.Epoch)
	case r.Handoff == mobility.HandoffUnchanged:
		c.foreign(q)
		c.tellAgain(q)
		return mobility.Refuse(mobility.StatusProhibited, "%s does not serve vm %s, %s does", q.host.Name, r.VM, q.b.Hypervisor)
	case c.inv.Policy.Tickets:
		c.foreign(q)
		return mobility.Refuse(mobility.StatusProhibited, "a move of vm %s from %s to %s needs a ticket", r.VM, q.b.Hypervisor, q.host.Name)
	case r.Epoch != 0 && r.Epoch < q.b.Epoch:
		return mobility.Refuse(mobility.StatusProhibited, "epoch %d is older than the binding's %d", r.Epoch, q.b.Epoch)
	case q.open != nil:
		return mobility.Refuse(mobility.StatusProhibited, "a move of vm %s to %s is open", r.VM, q.open.To)
	case q.b.releasing():
		return mobility.Refuse(mobility.StatusProhibited, "vm %s is giving up an old address, ask again", r.VM)
	}
	return c.plainMove(q)
}

// tellAgain: a hypervisor that believes to serve the VM still has lost what it
// was told, by a reboot that was quicker than its disk. An anchor that confirmed
// is told to redirect again, any other to remove what it has.
func (c *Core) tellAgain(q *question) {
	a := q.b.anchor(q.host.Name)
	switch {
	case q.Request.Epoch >= q.b.Base || a != nil && !a.Confirmed:
	case a == nil:
		b := c.tx.edit(q.b.VM)
		b.Anchors = append(b.Anchors, Anchor{Hypervisor: q.host.Name, Epoch: b.Epoch, Cold: true})
	case len(q.b.Deliveries) > 0:
		c.tx.edit(q.b.VM).anchor(q.host.Name).Confirmed = false
	}
}

// entitled reports whether the destination of the open move may COMMIT: with its
// ticket; where tickets are off without; and, since a refresh in the move's epoch
// says that it did so before the store was restored, where policy takes its word.
func (c *Core) entitled(q *question) bool {
	r := &q.Request
	if r.Epoch == q.open.Epoch && (r.Ticket == q.open.Ticket || c.inv.Policy.AdoptHigherEpochs && r.Handoff == mobility.HandoffUnchanged) {
		return true
	}
	return !c.inv.Policy.Tickets && r.Ticket.IsZero()
}

// commitMove makes the binding point to the destination of a prepared move.
func (c *Core) commitMove(q *question, open *Move) error {
	r := &q.Request
	if open.State == MoveAborting && open.Abort > AbortStop {
		return mobility.Refuse(mobility.StatusProhibited, "the move to %s at epoch %d was aborted", open.To, open.Epoch)
	}
	if r.HasMove() && r.Move.WithPhase(open.Options.Phase) != open.Options {
		return mobility.Refuse(mobility.StatusProhibited, "the move option differs from the prepared one")
	}
	if err := c.checkMoved(q, open.Options.Addresses, open.Deliveries); err != nil {
		return err
	}
	m := c.tx.editMove(open.VM, open.Epoch)
	if len(m.Deliveries) == 0 {
		m.Deliveries = slices.Clone(r.Deliveries)
	}
	c.commitTo(q, m)
	return nil
}

// plainMove is the draft's flow: no PREPARE, not loss-free.
func (c *Core) plainMove(q *question) error {
	r, from := &q.Request, q.b.Hypervisor
	if err := c.inv.MayMove(r.VM, from, q.host.Name); err != nil {
		return err
	}
	live, _ := q.b.live()
	if err := c.inv.MayLeave(r.VM, live, from, q.host.Name); err != nil {
		return err
	}
	o := r.Move
	if !r.HasMove() {
		o = c.inv.Policy.Defaults
		o.Addresses = mobility.AddressesRenumber
		if sameSet(r.Slots, q.b.Slots) {
			o.Addresses, o.New = mobility.AddressesKeep, mobility.PolicyRedirect
		}
	}
	if len(r.Deliveries) == 0 {
		o.Redirect = mobility.RedirectRouted // there is nothing to translate to
		if err := c.mayRoute(q); err != nil {
			return err
		}
	}
	if err := c.checkMoved(q, o.Addresses, nil); err != nil {
		return err
	}
	if err := c.unused(r.VM, r.Deliveries); err != nil {
		return err
	}
	b := c.tx.edit(r.VM)
	e, err := nextEpoch(b)
	if err != nil {
		return err
	}
	addrs, current := b.live()
	m := &Move{VM: r.VM, From: from, To: q.host.Name, Epoch: e, Options: o.WithPhase(mobility.PhaseSingle), Plain: true,
		State: MoveReady, Addrs: addrs, Current: current, Deliveries: slices.Clone(r.Deliveries)}
	c.tx.putMove(m)
	c.commitTo(q, m)
	return nil
}

// mayRoute refuses a move that would leave old addresses without a way: nobody
// restores them and no router can lead them to the hypervisor.
func (c *Core) mayRoute(q *question) error {
	live, _ := q.b.live()
	for _, a := range live {
		if c.inv.Home(a) != q.host.Name && len(c.inv.Outwards(q.host.Name)) == 0 {
			return mobility.Refuse(mobility.StatusProhibited, "nothing would lead %s to %s: no delivery address, no router", a, q.host.Name)
		}
	}
	return nil
}

// checkMoved checks slots and deliveries of a COMMIT: kept slots are those of
// the binding, new ones the destination's; deliveries are those that were
// prepared, one for a live old address, from the destination's pools.
func (c *Core) checkMoved(q *question, addressing mobility.Addressing, prepared []mobility.Delivery) error {
	r := &q.Request
	switch kept := sameSet(r.Slots, q.b.Slots); {
	case addressing == mobility.AddressesKeep && !kept:
		return mobility.Refuse(mobility.StatusPairMismatch, "the slots are not the kept ones")
	case addressing == mobility.AddressesRenumber:
		for _, s := range r.Slots {
			if q.b.has(s) || !q.host.Owns(s) {
				return mobility.Refuse(addressStatus(s), "%s is no new address of %s", s, q.host.Name)
			}
		}
	}
	return checkDeliveries(q.host.Pooled, q.b, r.Deliveries, prepared)
}

// checkDeliveries compares deliveries with the live old addresses and with
// those prepared before, if any.
func checkDeliveries(pooled func(netip.Addr) bool, b *Binding, got, prepared []mobility.Delivery) error {
	live, _ := b.live()
	for i, d := range got {
		switch {
		case !slices.Contains(live, d.Old):
			return mobility.Refuse(mobility.StatusPairMismatch, "delivery for %s, which is no live address of vm %s", d.Old, b.VM)
		case slices.ContainsFunc(got[:i], func(o mobility.Delivery) bool { return o.Old == d.Old || o.D == d.D }):
			return mobility.Refuse(mobility.StatusPairMismatch, "delivery %s -> %s is listed twice", d.Old, d.D)
		case d.Old.Is4() != d.D.Is4():
			return mobility.Refuse(mobility.StatusPairMismatch, "delivery %s -> %s mixes families", d.Old, d.D)
		case !pooled(d.D):
			return mobility.Refuse(addressStatus(d.D), "delivery address %s lies in no pool of the destination", d.D)
		case len(prepared) > 0 && !slices.Contains(prepared, d):
			return mobility.Refuse(mobility.StatusPairMismatch, "delivery %s -> %s was not prepared", d.Old, d.D)
		}
	}
	return nil
}

// commitTo does the COMMIT: one transaction with all that is now owed to the
// source, the earlier anchors and the routers.
func (c *Core) commitTo(q *question, m *Move) {
	b := c.tx.edit(m.VM)
	c.supersede(b)
	c.point(b, q.host.Name, m.Epoch, q.Request.Slots, m)
	if !q.Request.MAC.IsZero() {
		b.MAC = q.Request.MAC
	}
	c.dropProofs(m, "the move was committed before")
	m.State, m.Abort, m.Slots, m.Deadline, m.ProveBy = MoveCommitted, 0, b.Slots, noTime, noTime
	m.phase(c.now, PhaseCommitted, "")
	b.Open, b.Last = 0, m.Epoch
	lifetime := c.grant(b, q.Request.Lifetime)
	c.emit(Note{Text: "committed: " + m.From + " -> " + m.To, VM: m.VM, Peer: m.To, Epoch: m.Epoch})
	c.accept(q, b, "commit", registration.Reply{Lifetime: lifetime, Epoch: m.Epoch, Slots: b.Slots})
	c.advance(b)
}

// supersede ends a committed move that was still draining.
func (c *Core) supersede(b *Binding) {
	if last := c.tx.editMove(b.VM, b.Last); b.Last != 0 && last != nil {
		c.dropProofs(last, "the next move has committed")
		last.State = MoveDone
		last.phase(c.now, PhaseSuperseded, "")
	}
}

// point makes the hypervisor the serving one and the one before it an anchor.
func (c *Core) point(b *Binding, hypervisor string, e mobility.Epoch, slots []netip.Addr, m *Move) {
	live, _ := b.live()
	source := b.Hypervisor
	for _, s := range b.Slots {
		if !slices.Contains(slots, s) {
			b.Old = append(b.Old, OldAddress{Addr: s, State: OldLive})
		}
	}
	for i := range b.Old {
		if o := &b.Old[i]; o.State == OldUnrouted {
			o.State = OldLive
		}
		b.Old[i].Quiet = false
	}
	isCold := m.Options.Mode == mobility.ModeCold
	if isCold { // nothing is redirected: what is not kept is over
		for i := range b.Old {
			b.Old[i].State = max(b.Old[i].State, OldUnrouted)
		}
	}
	b.Hypervisor, b.Slots, b.Epoch, b.Base = hypervisor, sorted(slots), e, e
	b.Options, b.Deliveries = m.Options, slices.Clone(m.Deliveries)
	b.dropAnchor(hypervisor)
	b.dropAnchor(source)
	if source != hypervisor { // it is the same where a restored store adopts a return that it has missed
		b.Anchors = append(b.Anchors, Anchor{Hypervisor: source, Addrs: live})
	}
	for i := range b.Anchors {
		a := &b.Anchors[i]
		a.Epoch, a.Confirmed, a.Cold = e, false, a.Cold || isCold
	}
	b.unquarantine(b.Slots)
	c.routesFor(b, e)
}

// adopt takes the word of a hypervisor that refreshes with an epoch higher than
// any issued: the store was restored from a backup and policy allows it. The
// former serving hypervisor is told as after a COMMIT.
func (c *Core) adopt(q *question) error {
	r := &q.Request
	for _, s := range r.Slots {
		if !q.b.has(s) && !q.host.Owns(s) {
			return mobility.Refuse(addressStatus(s), "%s lies in no range of %s", s, q.host.Name)
		}
	}
	b := c.tx.edit(r.VM)
	b.jump(r.Epoch)
	if q.open != nil {
		c.endMove(b, c.tx.editMove(b.VM, b.Open), "the store was restored from a backup")
	}
	o := c.inv.Policy.Defaults
	m := &Move{VM: r.VM, From: b.Hypervisor, To: q.host.Name, Epoch: r.Epoch, Plain: true, State: MoveReady, Options: o}
	m.Addrs, m.Current = b.live()
	for _, d := range r.Deliveries { // for addresses that the backup knows
		if checkDeliveries(q.host.Pooled, b, []mobility.Delivery{d}, nil) == nil {
			m.Deliveries = append(m.Deliveries, d)
		}
	}
	if r.HasMove() {
		m.Options = r.Move.WithPhase(mobility.PhaseSingle)
	}
	m.phase(c.now, PhaseEpochJumped, "the store was restored from a backup")
	c.tx.putMove(m)
	c.commitTo(q, m)
	// Where its delivery addresses are not known (it was no COMMIT) the former
	// hypervisor redirects by what it was told before the backup, and must not be
	// told otherwise.
	for i := range b.Anchors {
		b.Anchors[i].Confirmed = len(m.Deliveries) == 0
	}
	c.advance(b)
	return nil
}
