package mgmt

import (
	"net/netip"
	"slices"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
)

// owedRehearsal lists what the routers are to be told of probe addresses: as of
// the VM's own, from the destination outwards. What the open move does not
// rehearse any more is withdrawn, everywhere at once: nobody sends to it.
func (c *Core) owedRehearsal(list []owed, b *Binding) []owed {
	if !b.rehearsing() {
		return list
	}
	m := c.moves[moveID{b.VM, b.Open}]
	for _, name := range rehearsalRouters(b) {
		if o, any := c.rehearse(b, m, name); any {
			list = append(list, o)
		}
		if o, any := c.unrehearse(b, m, name); any {
			list = append(list, o)
		}
	}
	return list
}

// rehearses reports whether the route belongs to what the open move, nil = none,
// rehearses.
func (m *Move) rehearses(r *Route) bool {
	return m != nil && m.State == MovePreparing && r.Epoch == m.Epoch && !r.Withdraw
}

// rehearse is the message by which a router gets probe addresses.
func (c *Core) rehearse(b *Binding, m *Move, router string) (owed, bool) {
	var addrs []netip.Addr
	for i := range b.Rehearsal {
		r := &b.Rehearsal[i]
		if r.Router == router && m.rehearses(r) && !r.Confirmed && c.mayRehearseAt(b, m, r) {
			addrs = append(addrs, r.Addr)
		}
	}
	if len(addrs) == 0 {
		return owed{}, false
	}
	r := c.located(b.request(mobility.HandoffMove, m.Epoch, c.inv.Lifetimes.Route, m.Options.WithPhase(mobility.PhaseCommit)), m.To)
	r.Pairs = unmodified(sorted(addrs))
	return owed{flightKey{router, rehearseRoute}, r}, true
}

// mayRehearseAt: no router before those that it will use; see mayInstall.
func (c *Core) mayRehearseAt(b *Binding, m *Move, r *Route) bool {
	for _, s := range c.inv.Outwards(m.To) {
		if s.Router != r.Router {
			continue
		}
		return !slices.ContainsFunc(b.Rehearsal, func(x Route) bool {
			return x.Addr == r.Addr && !x.Confirmed && slices.Contains(s.After, x.Router)
		})
	}
	return true
}

// unrehearse is the message by which a router loses probe addresses: those of
// the oldest move first, since a Request has one epoch.
func (c *Core) unrehearse(b *Binding, m *Move, router string) (owed, bool) {
	var addrs []netip.Addr
	var e mobility.Epoch
	for i := range b.Rehearsal {
		r := &b.Rehearsal[i]
		if r.Router != router || m.rehearses(r) || len(addrs) > 0 && r.Epoch != e {
			continue
		}
		addrs, e = append(addrs, r.Addr), r.Epoch
	}
	if len(addrs) == 0 {
		return owed{}, false
	}
	r := c.located(b.request(mobility.HandoffMove, e, 0, c.inv.Policy.Defaults.WithPhase(mobility.PhaseCommit)), b.Hypervisor)
	r.Pairs = unmodified(sorted(addrs))
	return owed{flightKey{router, retractRoute}, r}, true
}

func rehearsalRouters(b *Binding) []string {
	var names []string
	for _, r := range b.Rehearsal {
		if !slices.Contains(names, r.Router) {
			names = append(names, r.Router)
		}
	}
	return names
}

// rehearsalReplied takes a router's answer about probe addresses.
func (c *Core) rehearsalReplied(f *flight, r registration.Reply) {
	gone := f.owed.key.kind == retractRoute
	if !r.Status.Accepted() && !(gone && r.Status == mobility.StatusNotVMForThisNode) {
		c.again(f, r)
		if r.Status == mobility.StatusResources {
			c.full(f.owed.key.peer, f.vm, len(f.owed.request.Pairs))
			c.look = c.now // the move has a deadline
		}
		return
	}
	b := c.tx.edit(f.vm)
	mine := func(x Route) bool {
		return x.Router == f.owed.key.peer && x.Epoch == f.owed.request.Epoch &&
			slices.ContainsFunc(f.owed.request.Pairs, func(p mobility.Pair) bool { return p.Old == x.Addr })
	}
	if gone {
		b.Rehearsal = slices.DeleteFunc(b.Rehearsal, mine)
		c.roomAt(f.owed.key.peer)
	}
	for i := range b.Rehearsal {
		if x := &b.Rehearsal[i]; mine(*x) && !x.Withdraw {
			x.Confirmed = true
		}
	}
	if m := c.tx.editMove(f.vm, b.Open); b.Open != 0 && m != nil {
		c.maybeReady(m)
	}
}
