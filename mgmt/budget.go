package mgmt

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/dpmip/dpmip/mobility"
)

// RouterLimit: a router says how many host routes it may hold.
type RouterLimit struct {
	Router string
	Limit  int
}

// Traffic is what a hypervisor has counted at the deliveries of VMs that are not
// at home there.
type Traffic struct {
	Hypervisor string
	Samples    []TrafficSample
}

// TrafficSample is the traffic of one address, since the sample before.
type TrafficSample struct {
	VM      mobility.VMID
	Addr    netip.Addr
	Packets uint64
	Over    time.Duration
}

func (RouterLimit) event() {}
func (Traffic) event()     {}

// measured is the traffic of one address; it may be forgotten.
type measured struct {
	rate float64        // packets per second
	base mobility.Epoch // measured at the stay that began with it
}

// traffic takes samples of a hypervisor about the VMs that it serves. What it
// measured before counts half.
func (c *Core) traffic(e Traffic) {
	for _, s := range e.Samples {
		b := c.tx.binding(s.VM)
		if b == nil || b.Hypervisor != e.Hypervisor || !b.has(s.Addr) || s.Over <= 0 {
			continue
		}
		v := c.vol(s.VM)
		if v.rates == nil {
			v.rates = map[netip.Addr]measured{}
		}
		rate := float64(s.Packets) / s.Over.Seconds()
		if old, ok := v.rates[s.Addr]; ok && old.base == b.Base && s.Packets > 0 {
			rate = (rate + old.rate) / 2
		}
		v.rates[s.Addr] = measured{rate, b.Base}
	}
}

// rate is what is known of an address's traffic, in packets per second.
func (c *Core) rate(b *Binding, a netip.Addr) (float64, bool) {
	v := c.volatile[b.VM]
	if v == nil || v.rates[a].base != b.Base || b.Base == 0 {
		return 0, false
	}
	return v.rates[a].rate, true
}

// limited takes a router's word on its limit.
func (c *Core) limited(e RouterLimit) {
	if c.inv.Routers[e.Router] == nil || e.Limit <= 0 {
		return
	}
	delete(c.guessed, e.Router) // also one that was right: nothing is to be tried there
	if was, known := c.limits[e.Router]; !known || was != e.Limit {
		c.limits[e.Router] = e.Limit
		c.lookForRoom()
	}
}

// full: a router has answered 130 to n more. If it has not said what its limit
// is, that is the most that it can be.
func (c *Core) full(router string, vm mobility.VMID, n int) {
	limit, known := c.limits[router]
	if _, guessed := c.guessed[router]; !known || guessed {
		most := c.holds(router) + n - 1
		if known {
			most = min(limit, most)
		}
		c.limits[router], c.guessed[router] = most, c.now
	}
	if c.crowded[router] == nil {
		c.crowded[router] = map[mobility.VMID]struct{}{}
	}
	c.crowded[router][vm] = struct{}{}
	c.lookForRoom()
}

// holds is how many host routes the router has, as far as is known.
func (c *Core) holds(router string) (n int) {
	for vm := range c.bindings {
		b := c.tx.binding(vm)
		if b == nil {
			continue
		}
		for _, list := range [][]Route{b.Routes, b.Rehearsal} {
			for _, r := range list {
				if r.Router == router && (r.Confirmed || r.Withdraw) {
					n++
				}
			}
		}
	}
	return n
}

// took: the router has accepted a VM's routes.
func (c *Core) took(router string, vm mobility.VMID) {
	delete(c.crowded[router], vm)
	if _, guessed := c.guessed[router]; guessed {
		c.limits[router] = max(c.limits[router], c.holds(router))
	}
}

// roomAt sends again what a router has refused because it was full: it has just
// given up a route.
func (c *Core) roomAt(router string) {
	waiting := c.crowded[router]
	delete(c.crowded, router)
	for _, vm := range sortedVMs(waiting) {
		if v := c.volatile[vm]; v != nil {
			for _, kind := range []messageKind{installRoute, rehearseRoute} {
				if f := v.flights[flightKey{router, kind}]; f != nil && !f.wait.IsZero() {
					f.wait, f.backoff = c.now, 0
				}
			}
		}
		c.tx.touch(vm)
	}
}

// forgetLimit: a router that has restarted may have another limit. What it said
// itself it will say again.
func (c *Core) forgetLimit(router string) {
	if _, guessed := c.guessed[router]; guessed {
		delete(c.limits, router)
		delete(c.guessed, router)
		c.lookSoon()
	}
}

// lookForRoom asks for a look at the budgets soon, unless no limit is known.
func (c *Core) lookForRoom() {
	if len(c.limits) > 0 {
		c.lookSoon()
	}
}

func (c *Core) lookSoon() {
	soon := later(c.now, c.looked.Add(c.inv.Policy.Budget.Interval))
	if c.look.IsZero() || soon.Before(c.look) {
		c.look = soon
	}
}

// resumeBudgets looks, after a start, for room for those that have given way.
func (c *Core) resumeBudgets() {
	for _, b := range c.bindings {
		if len(b.Yields) > 0 {
			c.lookSoon()
			return
		}
	}
}

// budgets decides who has the room at routers that are full, and who gets it
// back. It goes on looking while there is somebody who would take room.
func (c *Core) budgets() {
	if c.look.IsZero() || c.now.Before(c.look) {
		return
	}
	if c.now.Before(c.stall) {
		c.look = c.stall
		return
	}
	c.look, c.looked = time.Time{}, c.now
	c.doubtGuesses()
	c.uncrowd()
	x := &contest{limits: c.limits, now: c.now, begun: c.started, policy: c.inv.Policy.Budget, reserved: map[string]int{}}
	tight := false
	for _, b := range c.sorted() {
		for _, a := range c.stuck(b) {
			c.emit(Note{Warning: true, Text: fmt.Sprintf("%s does not give way: %s does not confirm its redirect", a, c.inv.Home(a)), VM: b.VM, Peer: c.inv.Home(a), Epoch: b.Epoch})
			c.routeAgain(change{contender: &contender{vm: b.VM, addr: a}})
		}
		if now := c.tx.binding(b.VM); now != nil {
			x.list = append(x.list, c.contenders(now)...)
			for _, r := range now.Rehearsal {
				x.reserved[r.Router]++
			}
		}
		tight = tight || len(b.Yields) > 0
	}
	changes, short := x.decide()
	for _, ch := range changes {
		if ch.router != "" {
			c.giveWay(ch)
		} else {
			c.routeAgain(ch)
		}
	}
	c.shortage(short)
	if tight || len(changes) > 0 || len(short) > 0 || len(c.crowded) > 0 || slices.ContainsFunc(x.list, func(k *contender) bool { return k.fresh }) {
		c.lookSoon()
	}
}

// guessHolds is after how many settling times one more is tried than a guessed
// limit: what looked like a full table may have been something else.
const guessHolds = 10

func (c *Core) doubtGuesses() {
	for _, r := range sortedKeys(c.guessed) {
		if c.now.Sub(c.guessed[r]) >= guessHolds*c.inv.Policy.Budget.Settle {
			c.limits[r]++
			c.guessed[r] = c.now
		}
	}
}

// uncrowd forgets who no longer asks for room.
func (c *Core) uncrowd() {
	for _, r := range sortedKeys(c.crowded) {
		for _, vm := range sortedVMs(c.crowded[r]) {
			v := c.volatile[vm]
			if v == nil || v.flights[flightKey{r, installRoute}] == nil && v.flights[flightKey{r, rehearseRoute}] == nil {
				delete(c.crowded[r], vm)
			}
		}
		if len(c.crowded[r]) == 0 {
			delete(c.crowded, r)
		}
	}
}

// shortage raises an alarm, once, for routers that are too full and where nobody
// may give way now.
func (c *Core) shortage(short []string) {
	for _, r := range short {
		if !slices.Contains(c.short, r) {
			c.emit(Count{"overbooked", r})
			c.emit(Note{Warning: true, Text: "router is full, and nobody there can give way now: who waits for a host route stays translated", Peer: r})
		}
	}
	c.short = short
}

// contenders are the addresses of a VM that want room at routers.
func (c *Core) contenders(b *Binding) (list []*contender) {
	if b.Hypervisor == "" || !b.wantsRoutes() {
		return nil
	}
	live, _ := b.live()
	var routers []string
	for _, a := range live {
		y := b.yield(a)
		if y == nil && !c.routed(b, a) || c.inv.Home(a) == b.Hypervisor {
			continue
		}
		if routers == nil {
			for _, s := range c.inv.Outwards(b.Hypervisor) {
				routers = append(routers, s.Router)
			}
		}
		k := &contender{vm: b.VM, addr: a, routers: routers, since: later(c.arrived(b), c.vol(b.VM).changed[a]), yielded: y != nil}
		known := false
		k.rate, known = c.rate(b, a)
		k.fresh = y == nil && !known && c.now.Sub(later(k.since, c.started)) < c.inv.Policy.Budget.Settle
		if y != nil {
			k.since = y.At
		}
		k.fixed = !c.mayChange(b, a, y != nil)
		list = append(list, k)
	}
	return list
}

// arrived is when the VM came to where it is.
func (c *Core) arrived(b *Binding) time.Time {
	m := c.tx.move(b.VM, b.Base)
	if m == nil || len(m.Phases) == 0 {
		return b.Registered
	}
	at := m.Phases[0].At
	for _, p := range m.Phases {
		if p.Name == PhaseCommitted {
			at = p.At
		}
	}
	return at
}

// mayChange: never in the middle of a move, nor where the home could not take
// over at once.
func (c *Core) mayChange(b *Binding, a netip.Addr, yielded bool) bool {
	home := c.contacts[c.inv.Home(a)]
	switch {
	case b.Open != 0 || !b.Grace.IsZero():
		return false
	case yielded:
		return true
	}
	return home != nil && home.up && c.bridged(b, a)
}
