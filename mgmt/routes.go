package mgmt

import (
	"net/netip"
	"slices"

	"github.com/dpmip/dpmip/mgmt/inventory"
	"github.com/dpmip/dpmip/mobility"
)

// routesFor sets the binding's routes as a COMMIT at the epoch needs them:
// host routes for every live address that is not at home at the serving
// hypervisor, at every router that its own router reaches. Addresses that have
// come home get the routes they have replaced first. What an earlier routed
// move has left of a translated one stays as it is; see unroute.
func (c *Core) routesFor(b *Binding, e mobility.Epoch) {
	live, _ := b.live()
	routed := b.wantsRoutes()
	c.keepYields(b, live)
	for i := range b.Routes {
		r := &b.Routes[i]
		if b.yield(r.Addr) != nil {
			continue // on its way out, see unroute
		}
		if slices.Contains(live, r.Addr) && (routed || c.inv.Home(r.Addr) == b.Hypervisor) {
			r.Epoch, r.Confirmed, r.Withdraw = e, false, false
		} else if !routed && !r.Withdraw {
			// It may never have got there, and must not get there now: it would lead
			// elsewhere than those of the earlier move, and a hypervisor that knows no
			// old connections delivers nothing that comes by it. Like the others it is
			// withdrawn when the anchors have confirmed.
			r.Confirmed = true
		}
	}
	if !routed {
		return
	}
	c.addRoutes(b, live, e)
	c.lookForRoom()
}

// addRoutes lists the routes of addresses that are away from home and are not
// listed yet.
func (c *Core) addRoutes(b *Binding, addrs []netip.Addr, e mobility.Epoch) {
	for _, s := range c.inv.Outwards(b.Hypervisor) {
		for _, a := range addrs {
			if c.inv.Home(a) != b.Hypervisor && b.yield(a) == nil && !blocked(b, s.Router, a, func(*Route) bool { return true }) {
				b.Routes = append(b.Routes, Route{Router: s.Router, Addr: a, Epoch: e})
			}
		}
	}
}

// routed reports whether the address is to have host routes for good.
func (c *Core) routed(b *Binding, a netip.Addr) bool {
	if b.Hypervisor == "" || !b.wantsRoutes() || c.inv.Home(a) == b.Hypervisor || b.yield(a) != nil {
		return false
	}
	o := b.old(a)
	return o == nil && slices.Contains(b.Slots, a) || o != nil && o.State == OldLive
}

// wantsRoutes: a host route would lead new connections past the hypervisors
// that redirect, and they alone know which connections are old. So where new
// ones are dropped or rejected, what is renumbered stays with them.
func (b *Binding) wantsRoutes() bool {
	return b.Options.Redirect == mobility.RedirectRouted && b.Options.New == mobility.PolicyRedirect
}

// unroute marks the routes that are no longer wanted: of drained addresses at
// once, of addresses that came home or are translated now after every anchor
// has confirmed and every router that was to replace them, of addresses that have
// given way when their home has confirmed its redirect anew.
func (c *Core) unroute(b *Binding) {
	for i := range b.Routes {
		r := &b.Routes[i]
		if r.Withdraw || c.routed(b, r.Addr) {
			continue
		}
		o := b.old(r.Addr)
		over := b.Hypervisor == "" || o != nil && o.State != OldLive
		if b.yield(r.Addr) != nil {
			over = over || c.bridged(b, r.Addr)
			r.Withdraw, r.Confirmed = over, r.Confirmed && !over
			continue
		}
		if over || b.confirmed() && !slices.ContainsFunc(b.Routes, func(x Route) bool { return x.Addr == r.Addr && c.replaced(b, &x) }) {
			r.Withdraw, r.Confirmed = true, false
		}
	}
}

// confirmed reports whether every anchor has the binding's epoch.
func (b *Binding) confirmed() bool {
	return !slices.ContainsFunc(b.Anchors, func(a Anchor) bool { return !a.Confirmed })
}

// owedToRouters lists the routes whose turn it is: an installation waits for
// the routers nearer to the serving hypervisor, a withdrawal for those nearer
// to the address's home, so that at no moment two routers point at each other.
func (c *Core) owedToRouters(list []owed, b *Binding) []owed {
	if len(b.Routes) == 0 {
		return list
	}
	install, withdraw, keep := map[string][]netip.Addr{}, map[string][]netip.Addr{}, map[string][]netip.Addr{}
	order := c.routeOrder(b)
	for i := range b.Routes {
		r := &b.Routes[i]
		switch {
		case r.Withdraw && c.mayWithdraw(b, r):
			withdraw[r.Router] = append(withdraw[r.Router], r.Addr)
		case r.Withdraw:
		case r.Confirmed && c.routed(b, r.Addr) && c.keepDue(b.VM, r.Router, c.inv.Lifetimes.Route):
			keep[r.Router] = append(keep[r.Router], r.Addr)
		case !r.Confirmed && b.yield(r.Addr) == nil && c.mayInstall(b, r, order):
			install[r.Router] = append(install[r.Router], r.Addr)
		}
	}
	o := b.Options.WithPhase(mobility.PhaseCommit)
	for _, name := range routerNames(b) {
		if a := install[name]; len(a) > 0 {
			r := c.located(b.request(mobility.HandoffMove, b.Epoch, c.inv.Lifetimes.Route, o), b.Hypervisor)
			r.Pairs = unmodified(sorted(a))
			list = append(list, owed{flightKey{name, installRoute}, r})
		}
		if a := withdraw[name]; len(a) > 0 {
			r := c.located(b.request(mobility.HandoffMove, b.Epoch, 0, o), b.Hypervisor)
			r.Pairs = unmodified(sorted(a))
			list = append(list, owed{flightKey{name, withdrawRoute}, r})
		}
		if a := keep[name]; len(a) > 0 {
			r := c.located(b.request(mobility.HandoffUnchanged, b.Epoch, c.inv.Lifetimes.Route, o), b.Hypervisor)
			r.Pairs = unmodified(sorted(a))
			list = append(list, owed{flightKey{name, keepRoute}, r})
		}
	}
	return list
}

// routeOrder maps each router to its step, for routes towards the serving
// hypervisor.
func (c *Core) routeOrder(b *Binding) map[string]inventory.Step {
	order := map[string]inventory.Step{}
	for _, s := range c.inv.Outwards(b.Hypervisor) {
		order[s.Router] = s
	}
	return order
}

// mayInstall: what is replaced needs no room and goes first, by itself; the room
// that it gives up may be what the others need.
func (c *Core) mayInstall(b *Binding, r *Route, order map[string]inventory.Step) bool {
	if !c.replaced(b, r) && slices.ContainsFunc(b.Routes, func(x Route) bool { return x.Router == r.Router && c.replaced(b, &x) }) {
		return false
	}
	for _, next := range order[r.Router].After {
		if blocked(b, next, r.Addr, func(n *Route) bool { return !n.Confirmed }) {
			return false
		}
	}
	return true
}

// mayWithdraw: a router may lose its route when no router nearer to the home
// still has one that leads elsewhere; what is left then points the same way as
// the aggregates.
func (c *Core) mayWithdraw(b *Binding, r *Route) bool {
	for _, s := range c.inv.Outwards(c.inv.Home(r.Addr)) {
		if s.Router != r.Router {
			continue
		}
		for _, next := range s.After {
			if blocked(b, next, r.Addr, func(n *Route) bool { return !c.homeward(b, n) }) {
				return false
			}
		}
	}
	return true
}

// homeward reports whether the router has confirmed that its route leads to the
// serving hypervisor, which is the address's home.
func (c *Core) homeward(b *Binding, r *Route) bool {
	return !r.Withdraw && r.Confirmed && r.Epoch == b.Epoch && b.yield(r.Addr) == nil && c.inv.Home(r.Addr) == b.Hypervisor
}

func blocked(b *Binding, router string, a netip.Addr, f func(*Route) bool) bool {
	return slices.ContainsFunc(b.Routes, func(r Route) bool { return r.Router == router && r.Addr == a && f(&r) })
}

func routerNames(b *Binding) []string {
	var names []string
	for _, r := range b.Routes {
		if !slices.Contains(names, r.Router) {
			names = append(names, r.Router)
		}
	}
	return names
}
