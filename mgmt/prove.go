package mgmt

import (
	"fmt"
	"io"
	"net/netip"
	"slices"

	"github.com/dpmip/dpmip/internal/probe"
	"github.com/dpmip/dpmip/mgmt/inventory"
	"github.com/dpmip/dpmip/mobility"
)

// planProofs lists what is to be seen before the move is ready, and lets those
// who are to catch something prepare: they have until the source is prepared.
func (c *Core) planProofs(m *Move) {
	c.dropProofs(m, "prepared again")
	m.Proofs, m.ProveBy = nil, noTime
	policy := &c.inv.Policy.Proofs
	if policy.Delivery != inventory.ProofOff {
		for _, d := range m.Deliveries {
			for _, from := range c.farPoints(m) {
				c.planProof(m, Proof{Kind: ProofDelivery, Address: d.D, From: from, To: m.To, Required: policy.Delivery == inventory.ProofRequire})
			}
		}
	}
	if policy.Source != inventory.ProofOff && m.needsSource() {
		for _, old := range m.Addrs {
			c.planProof(m, Proof{Kind: ProofSource, Address: old, From: m.To, To: m.From, Required: policy.Source == inventory.ProofRequire})
		}
	}
	c.planRehearsal(m)
}

// farPoints are those from whom the destination must be reached: the source,
// and the named observers.
func (c *Core) farPoints(m *Move) []string {
	var list []string
	if m.needsSource() {
		list = append(list, m.From)
	}
	return append(list, c.inv.Policy.Proofs.Observers...)
}

func (c *Core) planProof(m *Move, p Proof) {
	p.State = ProofWaiting
	m.Proofs = append(m.Proofs, p)
	to, err := c.target(&p)
	if err != nil || c.whyNot(p.To, TaskCatch) != "" && !p.Required {
		return // askProofs says why
	}
	var t probe.Token
	if _, err := io.ReadFull(c.cfg.Random, t[:]); err != nil {
		return
	}
	a := &asked{move: moveID{m.VM, m.Epoch}, key: p.key()}
	if p.Kind == ProofSource {
		a.source = p.Address
	}
	c.noteAsked(t, a)
	c.give(a, p.To, Task{Token: t, Action: TaskCatch, Destination: to, Lasts: c.inv.Lifetimes.Prepare})
}

// target is where the probe of a proof goes.
func (c *Core) target(p *Proof) (netip.Addr, error) {
	if p.Kind == ProofDelivery {
		return p.Address, nil
	}
	h := c.inv.Hypervisors[p.To]
	if h == nil {
		return netip.Addr{}, fmt.Errorf("%s is not in the inventory", p.To)
	}
	return locatorFor(h, p.Address)
}

// askProofs starts what has been planned, all at once.
func (c *Core) askProofs(m *Move) {
	m.ProveBy = c.now.Add(c.inv.Policy.Proofs.Deadline)
	for _, t := range slices.Clone(c.tokensOf[moveID{m.VM, m.Epoch}]) {
		if p := m.openProof(c.asked[t].key); p != nil && p.State == ProofWaiting {
			c.askProof(t, p)
		}
	}
	for i := range m.Proofs { // those that nobody could be made to catch
		if p := &m.Proofs[i]; p.State == ProofWaiting {
			c.unasked(p)
		}
	}
}

func (c *Core) askProof(t probe.Token, p *Proof) {
	to, err := c.target(p)
	from, ferr := c.origin(p)
	why := c.whyNot(p.From, TaskSend)
	switch {
	case err != nil: // the inventory has changed since
		c.endProof(t, p, ProofNotAsked, err.Error())
	case ferr != nil:
		c.endProof(t, p, ProofNotAsked, ferr.Error())
	case why != "" && !p.Required:
		c.endProof(t, p, ProofNotAsked, why)
	default:
		p.State, p.Asked = ProofAsked, c.now
		c.give(c.asked[t], p.From, Task{Token: t, Action: TaskSend, Source: from, Destination: to, Lasts: c.inv.Policy.Proofs.Deadline})
	}
}

// unasked closes a proof for which there is nobody.
func (c *Core) unasked(p *Proof) {
	p.State, p.Detail = ProofNotAsked, c.whyNot(p.To, TaskCatch)
	if _, err := c.target(p); err != nil {
		p.Detail = err.Error()
	}
	if p.Required {
		p.State = ProofMissing
	}
	c.emit(Count{"proofs", p.Kind.String() + "/" + p.State.String()})
}

// origin is what a probe is sent from: the VM's address where that is what is to
// be proved, else the sender's locator. A router without one of the family takes
// what its kernel gives.
func (c *Core) origin(p *Proof) (netip.Addr, error) {
	if p.Kind == ProofSource {
		return p.Address, nil
	}
	h := c.inv.Hypervisors[p.From]
	if h == nil {
		return netip.Addr{}, nil
	}
	return locatorFor(h, p.Address)
}

// locatorFor is the hypervisor's locator of the address's family.
func locatorFor(h *inventory.Hypervisor, a netip.Addr) (netip.Addr, error) {
	at := h.Locator()
	if a.Is4() {
		at = h.Locator4()
	}
	if !at.IsValid() || at.Is4() != a.Is4() {
		return netip.Addr{}, fmt.Errorf("%s has no locator of the family of %s", h.Name, a)
	}
	return at, nil
}

// proofReported takes what a node has seen, or could not do.
func (c *Core) proofReported(e ProofReport) {
	a := c.asked[e.Token]
	if a == nil {
		return
	}
	if a.move == departureID(a.move.vm) {
		c.departureReported(e, a)
		return
	}
	m := c.tx.move(a.move.vm, a.move.epoch)
	if m.openProof(a.key) == nil {
		c.callOff(e.Token)
		return
	}
	m = c.tx.editMove(a.move.vm, a.move.epoch)
	p := m.openProof(a.key)
	switch {
	case !e.Seen && (p.Required || p.Kind.after() || p.Kind.rehearsed()):
		p.Detail = e.Node + ": " + e.Detail // the deadline decides: it may yet come
		return
	case !e.Seen:
		c.endProof(e.Token, p, ProofNotAsked, e.Node+": "+e.Detail)
	case e.Node != p.reporter() || p.State == ProofWaiting:
		return
	case a.source.IsValid() && e.Source != a.source:
		p.Detail = fmt.Sprintf("it came from %s", e.Source)
		return
	default:
		c.endProof(e.Token, p, ProofSeen, "")
	}
	if m.State.before() {
		c.maybeReady(m)
		return
	}
	c.advance(c.tx.edit(m.VM))
}

// proofsDue ends the proofs of a move whose deadline has passed, and the move.
func (c *Core) proofsDue(m *Move) {
	lacking := c.lacking(m)
	for i := range m.Proofs {
		if p := &m.Proofs[i]; p.Kind.rehearsed() && p.State.open() && lacking != "" {
			p.Detail = lacking
		}
	}
	c.dropProofs(m, "not seen within "+c.inv.Policy.Proofs.Deadline.String())
	why := m.missing()
	if why == "" {
		why = lacking
	}
	c.abort(m, "not proved: "+why)
}

// dropProofs ends what is still open.
func (c *Core) dropProofs(m *Move, why string) {
	for _, t := range slices.Clone(c.tokensOf[moveID{m.VM, m.Epoch}]) {
		if p := m.openProof(c.asked[t].key); p != nil {
			detail := why
			if p.Detail != "" {
				detail = p.Detail
			}
			c.endProof(t, p, ProofMissing, detail)
		}
		c.callOff(t)
	}
}

// mayProve refuses a move that policy wants proved and that cannot be.
func (c *Core) mayProve(b *Binding, to string, o mobility.MoveOptions) error {
	policy := &c.inv.Policy.Proofs
	if err := c.mayRehearse(b, to, o); err != nil || o.Mode == mobility.ModeCold {
		return err
	}
	need := func(node string, a TaskAction) error {
		if why := c.whyNot(node, a); why != "" {
			return mobility.Refuse(mobility.StatusProhibited, "policy requires proofs of this move, and %s", why)
		}
		return nil
	}
	if policy.Delivery == inventory.ProofRequire {
		for _, from := range append([]string{b.Hypervisor}, policy.Observers...) {
			if err := need(from, TaskSend); err != nil {
				return err
			}
		}
		if err := need(to, TaskCatch); err != nil {
			return err
		}
	}
	if policy.Source == inventory.ProofRequire {
		if err := need(to, TaskSend); err != nil {
			return err
		}
		if err := need(b.Hypervisor, TaskCatch); err != nil {
			return err
		}
	}
	if policy.Routes != inventory.ProofRequire || o.Redirect != mobility.RedirectRouted {
		return nil
	}
	for _, from := range policy.Everywhere() {
		for _, a := range []TaskAction{TaskSend, TaskInstalled, TaskAbsent} {
			if err := need(from, a); err != nil {
				return err
			}
		}
	}
	return need(to, TaskCatch)
}
