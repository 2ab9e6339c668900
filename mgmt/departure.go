package mgmt

import (
	"net/netip"
	"slices"

	"github.com/dpmip/dpmip/mgmt/inventory"
	"github.com/dpmip/dpmip/mobility"
)

// A VM that is gone takes its host routes with it. Once the routers have
// confirmed, the observers are asked whether their kernels have lost them; as
// long as one has not, nobody else gets the address, and the operator is told.

// departureID is under what the proofs of a VM's departure are asked for: no
// move has epoch 0.
func departureID(vm mobility.VMID) moveID { return moveID{vm, 0} }

// planDeparture lists what is to go of a VM that leaves.
func (c *Core) planDeparture(b *Binding) {
	policy := &c.inv.Policy.Proofs
	if policy.Routes == inventory.ProofOff {
		return
	}
	for _, r := range b.Routes {
		for _, o := range policy.Everywhere() {
			p := Proof{Kind: ProofWithdrawn, Address: r.Addr, From: o, To: c.inv.Home(r.Addr), State: ProofWaiting, Required: policy.Routes == inventory.ProofRequire}
			if b.lingering(p.key()) == nil {
				b.Leaving = append(b.Leaving, p)
			}
		}
	}
}

// lingering finds a proof of the VM's departure, or nil.
func (b *Binding) lingering(k proofKey) *Proof {
	for i := range b.Leaving {
		if b.Leaving[i].key() == k {
			return &b.Leaving[i]
		}
	}
	return nil
}

// proveDeparture asks for what the routers have withdrawn, and ends it all when
// the last observer has answered or the VM is back.
func (c *Core) proveDeparture(b *Binding) {
	if len(b.Leaving) == 0 {
		return
	}
	open := false
	for i := range b.Leaving {
		p := &b.Leaving[i]
		switch {
		case !p.unanswered():
		case b.Hypervisor != "":
			c.endDeparture(b, p, ProofNotAsked, "the VM is back")
		case !c.inv.Observes(p.From):
			c.endDeparture(b, p, ProofNotAsked, p.From+" is not in the inventory any more")
		case !b.hasRoute(p.Address):
			open = true
			c.askObservers(departureID(b.VM), p, &b.LeaveBy)
		default:
			open = true
		}
	}
	if !open {
		b.Leaving, b.LeaveBy = nil, noTime
		c.endQuarantine(b)
	}
}

func (c *Core) endDeparture(b *Binding, p *Proof, s ProofState, detail string) {
	c.endProof(c.tokenUnder(departureID(b.VM), p.key()), p, s, detail)
}

// departureReported takes what an observer has seen.
func (c *Core) departureReported(e ProofReport, a *asked) {
	b := c.tx.edit(a.move.vm)
	p := b.lingering(a.key)
	switch {
	case p == nil || !p.unanswered():
		c.callOff(e.Token)
	case e.Node != p.From:
	case !e.Seen:
		p.Detail = e.Node + ": " + e.Detail
	default:
		if p.State == ProofMissing {
			c.emit(Note{Text: "late, but proved: " + p.String(), VM: b.VM, Peer: p.From, Epoch: b.Epoch})
		}
		c.endProof(e.Token, p, ProofSeen, "")
		c.advance(b)
	}
}

// departureDue raises the alarm for host routes that do not go. They are still
// looked for: until they have gone their addresses stay in quarantine.
func (c *Core) departureDue(vm mobility.VMID) {
	b := c.tx.binding(vm)
	if b == nil || b.LeaveBy.IsZero() || c.now.Before(b.LeaveBy) {
		return
	}
	b = c.tx.edit(vm)
	b.LeaveBy = noTime
	for i := range b.Leaving {
		p := &b.Leaving[i]
		if !p.unanswered() || p.Asked.IsZero() {
			continue
		}
		why := c.whyNoRoute(p)
		if why != "" && !p.Required {
			c.endDeparture(b, p, ProofNotAsked, why)
			continue
		}
		b.LeaveBy = c.now.Add(c.inv.Policy.Proofs.Deadline) // look again
		for _, x := range p.tasks(c.tokenUnder(departureID(vm), p.key())) {
			c.emit(x)
		}
		if p.State != ProofMissing {
			p.State, p.Detail = ProofMissing, why
			c.emit(Count{"proofs", p.Kind.String() + "/missing"})
			c.emit(Note{Warning: true, Text: "the VM is gone; not proved: " + p.String() + orNothing(": ", why), VM: vm, Peer: p.From, Epoch: b.Epoch})
		}
	}
	c.advance(b)
}

// lingers reports whether a host route of the address has not been seen to go.
func (b *Binding) lingers(a netip.Addr) bool {
	return slices.ContainsFunc(b.Leaving, func(p Proof) bool { return p.Address == a && p.unanswered() })
}

// released reports whether a quarantined address has been kept long enough.
func (c *Core) released(b *Binding, q Quarantined) bool {
	return !c.now.Before(q.Until) && !b.lingers(q.Addr)
}

func (c *Core) endQuarantine(b *Binding) {
	b.Quarantine = slices.DeleteFunc(b.Quarantine, func(q Quarantined) bool { return c.released(b, q) })
}

// Lingering is a host route that an observer still has although its VM is gone.
type Lingering struct {
	VM    mobility.VMID
	Proof Proof
}

// Lingering lists the host routes of VMs that are gone which observers have not
// lost in time: an alarm.
func (c *Core) Lingering() (list []Lingering) {
	for _, b := range c.sorted() {
		for _, p := range b.Leaving {
			if p.State == ProofMissing {
				list = append(list, Lingering{b.VM, p})
			}
		}
	}
	return list
}

// departAgain asks anew after a start: who was asked is forgotten.
func (c *Core) departAgain() {
	for _, b := range c.sorted() {
		if len(b.Leaving) > 0 && len(c.tokensOf[departureID(b.VM)]) == 0 {
			e := c.tx.edit(b.VM)
			e.LeaveBy = noTime
			c.advance(e)
		}
	}
}
