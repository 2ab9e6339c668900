package mgmt

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/dpmip/dpmip/mobility"
)

// Yield is an address of a routed move that has given way to others, because a
// router had no room: it is translated until there is room again. First its
// home confirms anew that it redirects, then the routes are withdrawn, from the
// home outwards.
type Yield struct {
	Addr   netip.Addr `json:"addr"`
	Router string     `json:"router"` // that was full
	At     time.Time  `json:"at"`
	Rate   float64    `json:"rate"` // packets per second then
}

// yield finds the address among those that have given way, or nil.
func (b *Binding) yield(a netip.Addr) *Yield {
	for i := range b.Yields {
		if b.Yields[i].Addr == a {
			return &b.Yields[i]
		}
	}
	return nil
}

// keepYields drops, at a COMMIT, what no longer gives way: what has come home,
// what is over, and everything of a move that wants no routes.
func (c *Core) keepYields(b *Binding, live []netip.Addr) {
	b.Yields = slices.DeleteFunc(b.Yields, func(y Yield) bool {
		return !b.wantsRoutes() || c.inv.Home(y.Addr) == b.Hypervisor || !slices.Contains(live, y.Addr)
	})
}

// dropYields forgets that what is over has given way: its routes go anyway.
func (c *Core) dropYields(b *Binding) {
	b.Yields = slices.DeleteFunc(b.Yields, func(y Yield) bool {
		o := b.old(y.Addr)
		return o != nil && o.State != OldLive || o == nil && !slices.Contains(b.Slots, y.Addr)
	})
}

// stuck lists the addresses that were to give way and whose home has not
// confirmed: their routes are still there.
func (c *Core) stuck(b *Binding) (list []netip.Addr) {
	for _, y := range b.Yields {
		kept := slices.ContainsFunc(b.Routes, func(r Route) bool { return r.Addr == y.Addr && !r.Withdraw })
		if kept && b.Open == 0 && c.now.Sub(later(y.At, c.started)) >= c.inv.Policy.Budget.Settle {
			list = append(list, y.Addr)
		}
	}
	return list
}

// bridged reports whether the address's home redirects it to its delivery
// address, so that it needs no host route.
func (c *Core) bridged(b *Binding, a netip.Addr) bool {
	home := b.anchor(c.inv.Home(a))
	_, rewritten := b.delivery(a)
	return rewritten && home != nil && home.Confirmed && !home.Cold && slices.Contains(home.Addrs, a)
}

// giveWay makes an address translated. Its home is asked first.
func (c *Core) giveWay(x change) {
	b := c.tx.edit(x.vm)
	b.Yields = append(b.Yields, Yield{Addr: x.addr, Router: x.router, At: c.now, Rate: x.rate})
	b.anchor(c.inv.Home(x.addr)).Confirmed = false
	c.noteBudget(b, PhaseGaveWay, fmt.Sprintf("%s: %s is full (%d routes), and it carries least: %.4g packets/s", x.addr, x.router, c.limits[x.router], x.rate))
	c.emit(Count{"gave_way", x.router})
	c.emit(Note{Warning: true, Text: fmt.Sprintf("router is full: %s gives way to its translated redirect at %.4g packets/s", x.addr, x.rate), VM: x.vm, Peer: x.router, Epoch: b.Epoch})
	c.changed(x)
	c.reprove(b, x.addr)
	c.advance(b)
}

// routeAgain gives an address its host routes back.
func (c *Core) routeAgain(x change) {
	b := c.tx.edit(x.vm)
	router := b.yield(x.addr).Router
	b.Yields = slices.DeleteFunc(b.Yields, func(y Yield) bool { return y.Addr == x.addr })
	for i := range b.Routes {
		if r := &b.Routes[i]; r.Addr == x.addr {
			r.Epoch, r.Confirmed, r.Withdraw = b.Epoch, false, false
		}
	}
	c.addRoutes(b, []netip.Addr{x.addr}, b.Epoch)
	c.noteBudget(b, PhaseRoutedAgain, x.addr.String())
	c.emit(Count{"routed_again", router})
	c.emit(Note{Text: fmt.Sprintf("%s is routed again", x.addr), VM: x.vm, Peer: router, Epoch: b.Epoch})
	c.changed(x)
	c.reprove(b, x.addr)
	c.advance(b)
}

// changed notes when an address changed between routed and translated.
func (c *Core) changed(x change) {
	v := c.vol(x.vm)
	if v.changed == nil {
		v.changed = map[netip.Addr]time.Time{}
	}
	v.changed[x.addr] = c.now
}

// maxBudgetPhases bounds what one move's record tells of its addresses' changes.
const maxBudgetPhases = 32

// noteBudget tells the record of the move that brought the VM where it is.
func (c *Core) noteBudget(b *Binding, name, detail string) {
	m := c.tx.editMove(b.VM, b.Base)
	if m == nil {
		return
	}
	n := 0
	for _, p := range m.Phases {
		if p.Name == PhaseGaveWay || p.Name == PhaseRoutedAgain {
			n++
		}
	}
	if n < maxBudgetPhases {
		m.phase(c.now, name, detail)
	}
}

// reprove forgets what was proved of the address's routes: the contrary is to be
// seen now.
func (c *Core) reprove(b *Binding, a netip.Addr) {
	m := c.tx.editMove(b.VM, b.Base)
	if m == nil {
		return
	}
	for i := range m.Proofs {
		if p := &m.Proofs[i]; p.Kind.after() && p.Address == a && p.unanswered() {
			c.closeProof(m, p, ProofNotAsked, "it is routed otherwise now")
		}
	}
	m.Proofs = slices.DeleteFunc(m.Proofs, func(p Proof) bool {
		return p.Address == a && p.Kind.after() && (p.Kind == ProofWithdrawn) == (b.yield(a) != nil)
	})
}

// proving is the move whose proofs about routes count: the committed one that is
// not done, else, while an address gives way, the last one.
func (b *Binding) proving() mobility.Epoch {
	if b.Last == 0 && len(b.Yields) > 0 {
		return b.Base
	}
	return b.Last
}
