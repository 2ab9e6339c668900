package mgmt

import (
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
)

var noTime time.Time

// nextEpoch gives out an epoch, above any that was given out or heard of.
func nextEpoch(b *Binding) (mobility.Epoch, error) {
	if b.Issued == math.MaxUint32 {
		return 0, mobility.Refuse(mobility.StatusProhibited, "vm %s has used up its epochs", b.VM)
	}
	b.Issued++
	return b.Issued, nil
}

// register takes a VM that nobody serves: its first registration, or one after
// it was gone. All its addresses must lie in the hypervisor's ranges.
func (c *Core) register(q *question) error {
	r := &q.Request
	if err := c.inv.MayRegister(r.VM, q.host.Name); err != nil && q.b == nil {
		return err
	}
	again := r.Handoff == mobility.HandoffUnchanged || r.Move.Phase == mobility.PhaseCommit
	if q.b != nil && again && r.Epoch < q.b.Epoch && q.b.anchor(q.host.Name) != nil {
		// It served the VM before, and does not know yet that it is gone.
		return mobility.Refuse(mobility.StatusProhibited, "vm %s left %s, and is gone since epoch %d", r.VM, q.host.Name, q.b.Epoch)
	}
	for _, s := range r.Slots {
		if !q.host.Owns(s) && !c.adopts(q) {
			return mobility.Refuse(addressStatus(s), "%s lies in no range of %s", s, q.host.Name)
		}
	}
	b := c.tx.edit(r.VM)
	if r.Epoch > 0 { // it knows better: this store is new, or an old backup
		b.jump(r.Epoch - 1)
	}
	e, err := nextEpoch(b)
	if err != nil {
		return err
	}
	b.MAC, b.Hypervisor, b.Slots = r.MAC, q.host.Name, sorted(r.Slots)
	b.Epoch, b.Base, b.Registered, b.Gone = e, e, c.now, noTime
	b.Old, b.Deliveries, b.Options = nil, nil, mobility.MoveOptions{}
	b.dropAnchor(q.host.Name)
	b.unquarantine(b.Slots)
	lifetime := c.grant(b, r.Lifetime)
	c.proveDeparture(b)
	c.accept(q, b, "register", registration.Reply{Lifetime: lifetime, Epoch: e, Slots: b.Slots})
	return nil
}

// adopts reports whether policy takes the sender's word for a binding that this
// store, restored from a backup, has lost.
func (c *Core) adopts(q *question) bool {
	return c.inv.Policy.AdoptHigherEpochs && q.Request.Epoch > 1 && (q.b == nil || q.Request.Epoch > q.b.Issued)
}

// refresh takes a registration of the serving hypervisor: a refresh, a repeated
// attach, or a COMMIT whose answer was lost.
func (c *Core) refresh(q *question) error {
	r := &q.Request
	if err := c.checkEpoch(q); err != nil {
		return err
	}
	if !r.Ticket.IsZero() {
		if m := c.tx.move(r.VM, q.b.Base); m == nil || m.Ticket != r.Ticket || m.To != q.host.Name {
			return mobility.Refuse(mobility.StatusProhibited, "the ticket is not that of the move at epoch %d", q.b.Base)
		}
	}
	changed := !sameSet(r.Slots, q.b.Slots)
	if changed && c.adopts(q) {
		return c.adopt(q) // it has come back since the backup, renumbered
	}
	if changed && (len(q.b.Anchors) > 0 || len(q.b.Old) > 0 || q.open != nil) {
		return mobility.Refuse(mobility.StatusPairMismatch, "the slots are not those of the binding")
	}
	b := c.tx.edit(r.VM)
	if changed {
		b.Slots = sorted(r.Slots)
		b.unquarantine(b.Slots)
	}
	if r.Epoch > b.Issued { // this store is an old backup; the serving hypervisor knows better
		b.jump(r.Epoch)
		b.Epoch, b.Base = r.Epoch, r.Epoch
		c.emit(Note{Warning: true, Text: "the epoch jumped: the serving hypervisor knows a higher one", VM: b.VM, Peer: q.host.Name, Epoch: r.Epoch})
	}
	if !r.MAC.IsZero() {
		b.MAC = r.MAC
	}
	if r.Handoff == mobility.HandoffNew && len(b.Deliveries) > 0 {
		c.startsOver(b)
	}
	what := "refresh"
	if r.Move.Phase == mobility.PhaseCommit {
		what = "commit_again"
	}
	reply := registration.Reply{Lifetime: c.grant(b, r.Lifetime), Epoch: b.Epoch, Slots: b.Slots}
	if b.confirmed() { // nobody sends to any other
		reply.Deliveries = b.Deliveries
	}
	c.accept(q, b, what, reply)
	return nil
}

// startsOver: the VM was detached and is attached again before its grace has
// ended. Its delivery addresses are gone; where it is at home the anchors need
// none.
func (c *Core) startsOver(b *Binding) {
	b.Deliveries = nil
	for i := range b.Anchors {
		b.Anchors[i].Confirmed = false
	}
	c.advance(b) // it may have been all that a move waited for
}

// checkEpoch compares a serving hypervisor's epoch with the binding's. One
// between the COMMIT and a later jump is its own; one that was issued for
// another move is not.
func (c *Core) checkEpoch(q *question) error {
	e, b := q.Request.Epoch, q.b
	switch {
	case e == 0 && (q.Request.Handoff == mobility.HandoffNew || !c.inv.Policy.Tickets):
	case e == 0:
		return mobility.Refuse(mobility.StatusProhibited, "no epoch, want %d", b.Epoch)
	case e < b.Base:
		return mobility.Refuse(mobility.StatusProhibited, "epoch %d is older than the binding's %d", e, b.Base)
	case e > b.Epoch && e <= b.Issued:
		return mobility.Refuse(mobility.StatusProhibited, "epoch %d belongs to another move, the binding's is %d", e, b.Epoch)
	}
	return nil
}

func (b *Binding) dropAnchor(hypervisor string) {
	for i := range b.Anchors {
		if b.Anchors[i].Hypervisor == hypervisor {
			b.Anchors = append(b.Anchors[:i], b.Anchors[i+1:]...)
			return
		}
	}
}

// unquarantine takes addresses out of quarantine that the VM itself has again.
func (b *Binding) unquarantine(addrs []netip.Addr) {
	b.Quarantine = slices.DeleteFunc(b.Quarantine, func(q Quarantined) bool { return slices.Contains(addrs, q.Addr) })
}
