package mgmt

import (
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/dpmip/dpmip/internal/probe"
	"github.com/dpmip/dpmip/mgmt/inventory"
)

// proveRoutes asks, once every router has confirmed, whether the observers have
// the host routes of the committed move: in their kernels, and by a packet that
// comes to the serving hypervisor without the source. What is withdrawn is to be
// gone from their kernels likewise. Until then the source keeps its redirect.
func (c *Core) proveRoutes(b *Binding) {
	policy := &c.inv.Policy.Proofs
	m := c.tx.move(b.VM, b.proving())
	if m == nil || policy.Routes == inventory.ProofOff || len(policy.Everywhere()) == 0 && !m.provingRoutes() {
		return
	}
	m = c.tx.editMove(b.VM, b.proving())
	c.planRoutes(b, m)
	for i := range m.Proofs {
		p := &m.Proofs[i]
		switch {
		case !p.Kind.after() || !p.unanswered():
		case c.outdated(b, p):
			c.closeProof(m, p, ProofNotAsked, "it is routed no longer")
		case p.Kind == ProofWithdrawn && b.hasRoute(p.Address), p.Kind != ProofWithdrawn && c.routesOwed(b):
		default:
			c.askObservers(moveID{m.VM, m.Epoch}, p, &m.ProveBy)
		}
	}
}

// planRoutes lists what has not been listed yet.
func (c *Core) planRoutes(b *Binding, m *Move) {
	plan := func(kind ProofKind, a netip.Addr, observer string) {
		p := Proof{Kind: kind, Address: a, From: observer, To: b.Hypervisor, State: ProofWaiting, Required: c.inv.Policy.Proofs.Routes == inventory.ProofRequire}
		if kind == ProofWithdrawn {
			p.To = c.inv.Home(a)
		}
		if m.proof(p.key()) == nil {
			m.Proofs = append(m.Proofs, p)
		}
	}
	for i := range b.Routes {
		for _, o := range c.inv.Policy.Proofs.Everywhere() {
			r := &b.Routes[i]
			if r.Withdraw {
				plan(ProofWithdrawn, r.Addr, o)
			} else if c.routed(b, r.Addr) {
				plan(ProofInstalled, r.Addr, o)
				plan(ProofServed, r.Addr, o)
			}
		}
	}
}

// outdated: an address that has no routes any more needs none proved; one that
// is routed again needs not be gone.
func (c *Core) outdated(b *Binding, p *Proof) bool {
	return (p.Kind == ProofWithdrawn) == c.routed(b, p.Address) || !c.inv.Observes(p.From)
}

func (b *Binding) hasRoute(a netip.Addr) bool {
	return slices.ContainsFunc(b.Routes, func(r Route) bool { return r.Addr == a })
}

// askObservers starts a proof about routes unless it is under way. All that are
// asked under one id have one deadline, from the first of them on.
func (c *Core) askObservers(id moveID, p *Proof, by *time.Time) {
	if c.tokenUnder(id, p.key()) != (probe.Token{}) {
		return
	}
	var t probe.Token
	if _, err := io.ReadFull(c.cfg.Random, t[:]); err != nil {
		return
	}
	if p.Asked.IsZero() {
		p.State, p.Asked = ProofAsked, c.now
	}
	if by.IsZero() {
		*by = c.now.Add(c.inv.Policy.Proofs.Deadline)
	}
	a := &asked{move: id, key: p.key()}
	c.noteAsked(t, a)
	for _, x := range p.tasks(t) {
		c.give(a, x.To, x.Task)
	}
}

// tasks are the parts of a proof about routes.
func (p *Proof) tasks(t probe.Token) []Prove {
	task := Task{Token: t, Destination: p.Address, Lasts: routeTask}
	as := func(to string, a TaskAction) Prove {
		x := task
		x.Action = a
		return Prove{to, x}
	}
	switch p.Kind {
	case ProofServed, ProofReached:
		return []Prove{as(p.To, TaskCatch), as(p.From, TaskSend)}
	case ProofWithdrawn, ProofRetracted:
		return []Prove{as(p.From, TaskAbsent)}
	}
	return []Prove{as(p.From, TaskInstalled)}
}

// tokenOf is that of a proof under way; zero = it is not.
func (c *Core) tokenOf(m *Move, k proofKey) probe.Token {
	return c.tokenUnder(moveID{m.VM, m.Epoch}, k)
}

func (c *Core) tokenUnder(id moveID, k proofKey) probe.Token {
	for _, t := range c.tokensOf[id] {
		if c.asked[t].key == k {
			return t
		}
	}
	return probe.Token{}
}

// closeProof is endProof for one that may have no token.
func (c *Core) closeProof(m *Move, p *Proof, s ProofState, detail string) {
	c.endProof(c.tokenOf(m, p.key()), p, s, detail)
}

// unanswered: a proof about routes may still be seen, be it late.
func (p *Proof) unanswered() bool { return p.State.open() || p.Kind.after() && p.State == ProofMissing }

// provingRoutes reports whether a proof about routes has not come yet.
func (m *Move) provingRoutes() bool {
	return slices.ContainsFunc(m.Proofs, func(p Proof) bool { return p.Kind.after() && p.unanswered() })
}

// unproved says why an anchor must go on redirecting the address: "" = it need
// not, as far as proofs go.
func (c *Core) unproved(b *Binding, a netip.Addr) string {
	m := c.tx.move(b.VM, b.proving())
	if m == nil {
		return ""
	}
	for i := range m.Proofs {
		if p := &m.Proofs[i]; p.Address == a && (p.Kind == ProofInstalled || p.Kind == ProofServed) && p.unanswered() {
			return fmt.Sprintf("not proved: %s", p)
		}
	}
	return ""
}

// routesDue raises the alarm for routes that have not been seen in time. Nothing
// is taken back: the redirect stays, and the proof may come yet.
func (c *Core) routesDue(b *Binding) {
	m := c.tx.move(b.VM, b.proving())
	if m == nil || m.State.before() || m.ProveBy.IsZero() || c.now.Before(m.ProveBy) {
		return
	}
	m = c.tx.editMove(b.VM, b.proving())
	m.ProveBy = noTime
	for i := range m.Proofs {
		p := &m.Proofs[i]
		if !p.Kind.after() || !p.unanswered() || p.Asked.IsZero() {
			continue
		}
		why := c.whyNoRoute(p)
		if why != "" && !p.Required {
			c.closeProof(m, p, ProofNotAsked, why)
			continue
		}
		m.ProveBy = c.now.Add(c.inv.Policy.Proofs.Deadline) // look again
		for _, x := range p.tasks(c.tokenOf(m, p.key())) {
			c.emit(x)
		}
		if p.State != ProofMissing {
			p.State, p.Detail = ProofMissing, why
			c.emit(Count{"proofs", p.Kind.String() + "/missing"})
			c.emit(Note{Warning: true, Text: "the source goes on redirecting; not proved: " + p.String() + orNothing(": ", why), VM: m.VM, Peer: p.From, Epoch: m.Epoch})
		}
	}
	c.advance(c.tx.edit(b.VM))
}

func orNothing(before, text string) string {
	if text == "" {
		return ""
	}
	return before + text
}

// whyNoRoute says who of a proof's nodes cannot be asked; "" = all can.
func (c *Core) whyNoRoute(p *Proof) string {
	for _, x := range p.tasks(probe.Token{}) {
		if why := c.whyNot(x.To, x.Task.Action); why != "" {
			return why
		}
	}
	return ""
}

// provedAgain asks anew, after a start, for what a committed move waits for: who
// was asked is forgotten.
func (c *Core) provedAgain() {
	for _, b := range c.sorted() {
		if m := c.moves[moveID{b.VM, b.proving()}]; m != nil && m.provingRoutes() && len(c.tokensOf[moveID{m.VM, m.Epoch}]) == 0 {
			c.tx.editMove(b.VM, b.proving()).ProveBy = noTime
			c.advance(c.tx.edit(b.VM))
		}
	}
}
