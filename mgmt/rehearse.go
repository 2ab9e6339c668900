package mgmt

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/dpmip/dpmip/internal/probe"
	"github.com/dpmip/dpmip/mgmt/inventory"
	"github.com/dpmip/dpmip/mobility"
)

// A rehearsal shows before the switch that the fabric will take the VM's host
// routes to the destination: an address that nobody has, the move's probe
// address, gets all the host routes that the VM's addresses are to have, the
// observers are asked for it, and it is taken back.

// planRehearsal begins that of a move, a probe address for each family. What an
// earlier try has left is taken back.
func (c *Core) planRehearsal(m *Move) {
	policy := &c.inv.Policy.Proofs
	if c.tx.binding(m.VM).rehearsing() {
		takeBack(c.tx.edit(m.VM), 0)
	}
	if policy.Announced == inventory.ProofOff || m.SourceLost || !announces(m.Options) {
		return
	}
	for _, old := range c.toAnnounce(m.Addrs, m.To) {
		p, err := c.probeAddress(old.Is4())
		if err != nil {
			for _, o := range policy.Everywhere() {
				c.listUnasked(m, Proof{Kind: ProofAnnounced, Address: old, From: o, To: m.To}, err.Error())
			}
			continue
		}
		asked := false
		for _, o := range policy.Everywhere() {
			for _, kind := range []ProofKind{ProofAnnounced, ProofReached} {
				asked = c.askRehearsal(m, Proof{Kind: kind, Address: p, From: o, To: m.To}) || asked
			}
		}
		if asked {
			b := c.tx.edit(m.VM)
			for _, s := range c.inv.Outwards(m.To) {
				b.Rehearsal = append(b.Rehearsal, Route{Router: s.Router, Addr: p, Epoch: m.Epoch})
			}
		}
	}
}

// announces reports whether the fabric gets host routes after such a move; see
// wantsRoutes.
func announces(o mobility.MoveOptions) bool {
	return o.Redirect == mobility.RedirectRouted && o.New == mobility.PolicyRedirect
}

// toAnnounce gives of each family the first address that gets host routes: those
// at home at the destination get none.
func (c *Core) toAnnounce(addrs []netip.Addr, to string) (list []netip.Addr) {
	if len(c.inv.Outwards(to)) == 0 {
		return nil
	}
	for _, a := range addrs {
		same := func(x netip.Addr) bool { return x.Is4() == a.Is4() }
		if c.inv.Home(a) != to && !slices.ContainsFunc(list, same) {
			list = append(list, a)
		}
	}
	return list
}

// probeTries bounds the search for an address that no other move has.
const probeTries = 64

// probeAddress picks an address of the family out of the ranges of policy.
func (c *Core) probeAddress(is4 bool) (netip.Addr, error) {
	for _, p := range c.inv.Policy.Proofs.Probes {
		if p.Addr().Is4() != is4 {
			continue
		}
		for range probeTries {
			var random [8]byte
			if _, err := io.ReadFull(c.cfg.Random, random[:]); err != nil {
				return netip.Addr{}, fmt.Errorf("no random bytes: %w", err)
			}
			a := inside(p, binary.BigEndian.Uint64(random[:]))
			if _, taken := c.byAddr[a]; !taken && a != p.Addr() {
				return a, nil
			}
		}
		return netip.Addr{}, fmt.Errorf("other moves have the addresses of %s", p)
	}
	return netip.Addr{}, fmt.Errorf("policy.proofs.probes names no range of the family")
}

// inside is the address of the prefix whose last bits are those of n.
func inside(p netip.Prefix, n uint64) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	host := len(b)*8 - p.Bits()
	if host < 64 {
		n &= 1<<host - 1
	}
	for i := range min(8, len(b)) {
		b[len(b)-1-i] |= byte(n >> (8 * i))
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// askRehearsal lists a proof and asks for it at once: it waits for routers that
// are told meanwhile. It reports whether anybody was asked.
func (c *Core) askRehearsal(m *Move, p Proof) bool {
	p.Required = c.inv.Policy.Proofs.Announced == inventory.ProofRequire
	if why := c.whyNoRoute(&p); why != "" && !p.Required {
		c.listUnasked(m, p, why)
		return false
	}
	var t probe.Token
	if _, err := io.ReadFull(c.cfg.Random, t[:]); err != nil {
		return false
	}
	p.State, p.Asked = ProofAsked, c.now
	m.Proofs = append(m.Proofs, p)
	a := &asked{move: moveID{m.VM, m.Epoch}, key: p.key()}
	c.noteAsked(t, a)
	for _, x := range p.tasks(t) {
		x.Task.Lasts = c.inv.Lifetimes.Prepare
		c.give(a, x.To, x.Task)
	}
	return true
}

// listUnasked lists a proof for which there is nobody.
func (c *Core) listUnasked(m *Move, p Proof, why string) {
	p.State, p.Detail = ProofNotAsked, why
	if c.inv.Policy.Proofs.Announced == inventory.ProofRequire {
		p.State, p.Required = ProofMissing, true
	}
	m.Proofs = append(m.Proofs, p)
	c.emit(Count{"proofs", p.Kind.String() + "/" + p.State.String()})
}

// retract takes the probe addresses back when all observers have answered, and
// asks those who had the routes whether they are gone. A fabric that forgets too
// late would lead the VM's packets astray on its way home.
func (c *Core) retract(m *Move) {
	b := c.tx.binding(m.VM)
	fresh := func(r Route) bool { return r.Epoch == m.Epoch && !r.Withdraw }
	if !slices.ContainsFunc(b.Rehearsal, fresh) {
		return
	}
	for i := range m.Proofs {
		if p := &m.Proofs[i]; p.Kind.rehearsed() && p.State.open() {
			return
		}
	}
	takeBack(c.tx.edit(m.VM), m.Epoch)
	for _, p := range slices.Clone(m.Proofs) {
		if p.Kind == ProofAnnounced && p.State == ProofSeen {
			c.askRehearsal(m, Proof{Kind: ProofRetracted, Address: p.Address, From: p.From, To: p.To})
		}
	}
}

// takeBack marks the probe addresses of a move, 0 = of all.
func takeBack(b *Binding, e mobility.Epoch) {
	for i := range b.Rehearsal {
		if r := &b.Rehearsal[i]; !r.Withdraw && (e == 0 || r.Epoch == e) {
			r.Withdraw, r.Confirmed = true, false
		}
	}
}

func (b *Binding) rehearsing() bool { return len(b.Rehearsal) > 0 }

// onStage reports whether a router has a probe address of the move, or may have.
func (c *Core) onStage(m *Move) bool {
	return !m.SourceLost && slices.ContainsFunc(c.tx.binding(m.VM).Rehearsal, func(r Route) bool { return r.Epoch == m.Epoch })
}

// lacking says, for people, which routers have not done what they were told for
// the move's rehearsal.
func (c *Core) lacking(m *Move) string {
	var list, waiting []string
	for _, r := range c.tx.binding(m.VM).Rehearsal {
		if r.Epoch != m.Epoch || r.Confirmed {
			continue
		}
		undone := "has not confirmed"
		if r.Withdraw {
			undone = "has not taken back"
		}
		text := fmt.Sprintf("%s %s probe address %s", r.Router, undone, r.Addr)
		if why := c.Trouble(m.VM, r.Router); why != "" {
			list = append(list, text+": "+why)
			continue
		}
		waiting = append(waiting, text)
	}
	if len(list) == 0 { // else those wait for these
		list = waiting
	}
	return strings.Join(list, ", ")
}

// mayRehearse refuses a move whose rehearsal policy wants and nobody could see.
func (c *Core) mayRehearse(b *Binding, to string, o mobility.MoveOptions) error {
	policy := &c.inv.Policy.Proofs
	addrs, _ := b.live()
	if policy.Announced != inventory.ProofRequire || !announces(o) {
		return nil
	}
	for _, a := range c.toAnnounce(addrs, to) {
		if !slices.ContainsFunc(policy.Probes, func(p netip.Prefix) bool { return p.Addr().Is4() == a.Is4() }) {
			return mobility.Refuse(mobility.StatusProhibited, "policy requires proofs of this move, and policy.proofs.probes names no range of the family of %s", a)
		}
		for _, from := range policy.Everywhere() {
			for _, kind := range []ProofKind{ProofAnnounced, ProofReached, ProofRetracted} {
				if why := c.whyNoRoute(&Proof{Kind: kind, Address: a, From: from, To: to}); why != "" {
					return mobility.Refuse(mobility.StatusProhibited, "policy requires proofs of this move, and %s", why)
				}
			}
		}
	}
	return nil
}
