package mgmt

import (
	"net/netip"
	"slices"
	"time"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
)

// messageKind names what a message is for; the numbers are those of
// docs/moves.md.
type messageKind uint8

const (
	prepareDestination messageKind = iota + 1 // 4
	prepareSource                             // 5
	redirect                                  // 7
	installRoute                              // 8
	withdrawRoute                             // 8, lifetime 0
	drained                                   // 10
	abortStop                                 // 11
	abortDisarm                               // 12
	abortGiveBack                             // 13
	cold                                      // 14
	keepAnchor                                // 15
	keepRoute                                 // 15
	rehearseRoute                             // 8, of a probe address
	retractRoute                              // 8, lifetime 0, likewise
)

var kindNames = [...]string{"invalid", "prepare_destination", "prepare_source", "redirect", "install_route", "withdraw_route",
	"drained", "abort_stop", "abort_disarm", "abort_give_back", "cold", "keep_anchor", "keep_route", "rehearse_route", "retract_route"}

func (k messageKind) String() string { return kindNames[k] }

// flightKey names a message among those of one VM: a peer has at most one of a
// kind.
type flightKey struct {
	peer string
	kind messageKind
}

// owed is a message that somebody has to be sent, and answer.
type owed struct {
	key     flightKey
	request registration.Request
}

// owed lists every message that the VM's records say is outstanding. It is the
// outbox: computed, so that it cannot disagree with the records.
func (c *Core) owed(b *Binding) []owed {
	var list []owed
	if m := c.moves[moveID{b.VM, b.Open}]; b.Open != 0 && m != nil {
		list = c.owedByMove(list, b, m)
	}
	list = c.owedToAnchors(list, b)
	list = c.owedToRouters(list, b)
	list = c.owedRehearsal(list, b)
	return c.owedDrained(list, b)
}

// request is what every message about the VM carries.
func (b *Binding) request(h mobility.HandoffIndicator, e mobility.Epoch, lifetime time.Duration, o mobility.MoveOptions) registration.Request {
	return registration.Request{VM: b.VM, MAC: b.MAC, Handoff: h, Epoch: e, Lifetime: mobility.LifetimeOf(lifetime), Move: o}
}

// located adds options 3 and 38: where the hypervisor is.
func (c *Core) located(r registration.Request, hypervisor string) registration.Request {
	if h := c.inv.Hypervisors[hypervisor]; h != nil {
		r.CareOf, r.Locator4 = h.Locator(), h.Locator4()
	}
	return r
}

func (c *Core) owedByMove(list []owed, b *Binding, m *Move) []owed {
	switch {
	case m.State == MoveAborting:
		return append(list, c.owedAbort(b, m))
	case m.State != MovePreparing || b.releasing() && m.needsSource() || c.strays(b, m):
		return list
	case !m.DestinationReady:
		r := b.request(mobility.HandoffMove, m.Epoch, c.inv.Lifetimes.Prepare, m.Options.WithPhase(mobility.PhasePrepare))
		r = c.located(r, m.From)
		r.Pairs, r.Ticket = unmodified(m.Addrs), m.Ticket
		if v6, v4 := mobility.SplitFamilies(m.Addrs); len(v6) != int(m.Current.V6) || len(v4) != int(m.Current.V4) {
			r.Current = &mobility.SlotCount{V6: m.Current.V6, V4: m.Current.V4}
		}
		return append(list, owed{flightKey{m.To, prepareDestination}, r})
	case m.needsSource() && !m.SourceReady:
		r := b.request(mobility.HandoffMove, m.Epoch, c.inv.Lifetimes.Prepare, m.Options.WithPhase(mobility.PhasePrepare))
		r = c.located(r, m.To)
		r.Pairs = m.pairs()
		return append(list, owed{flightKey{m.From, prepareSource}, r})
	}
	return list
}

func (c *Core) owedAbort(b *Binding, m *Move) owed {
	o := m.Options.WithPhase(mobility.PhaseAbort)
	switch m.Abort {
	case AbortDisarm:
		return owed{flightKey{m.From, abortDisarm}, b.request(mobility.HandoffUnknown, m.Epoch, 0, o)}
	case AbortGiveBack:
		return owed{flightKey{m.To, abortGiveBack}, b.request(mobility.HandoffUnknown, m.Epoch, 0, o)}
	}
	return owed{flightKey{m.To, abortStop}, b.request(mobility.HandoffUnknown, m.Epoch, c.inv.Lifetimes.Prepare, o)}
}

func (c *Core) owedToAnchors(list []owed, b *Binding) []owed {
	hold := c.holdsSource(b)
	o := b.Options.WithPhase(mobility.PhaseCommit)
	for i := range b.Anchors {
		a := &b.Anchors[i]
		switch {
		case a.Cold && !a.Confirmed && b.routing(): // routers may point there still: it would send back what they send
		case a.Cold && !a.Confirmed:
			list = append(list, owed{flightKey{a.Hypervisor, cold}, b.request(mobility.HandoffUnknown, a.Epoch, 0, o)})
		case a.Cold:
		case !a.Confirmed && !hold && c.mayRedirect(b, a):
			r := c.located(b.request(mobility.HandoffMove, a.Epoch, c.inv.Lifetimes.Redirect, o), b.Hypervisor)
			r.Pairs = b.pairs(a.Addrs)
			list = append(list, owed{flightKey{a.Hypervisor, redirect}, r})
		case a.Confirmed && c.keeps(b, a) && c.mayRedirect(b, a) && c.keepDue(b.VM, a.Hypervisor, c.inv.Lifetimes.Redirect):
			r := c.located(b.request(mobility.HandoffUnchanged, a.Epoch, c.inv.Lifetimes.Redirect, o), b.Hypervisor)
			r.Pairs = b.pairs(a.Addrs)
			list = append(list, owed{flightKey{a.Hypervisor, keepAnchor}, r})
		}
	}
	return list
}

// mayRedirect reports whether the anchor can follow its pairs without a loop.
// An old address that nobody restores (no PREPARE, and none was named) is
// forwarded unmodified, by host route: that needs the routers first, or the next
// one sends it straight back.
func (c *Core) mayRedirect(b *Binding, a *Anchor) bool {
	for _, x := range a.Addrs {
		if _, rewritten := b.delivery(x); !rewritten && (!c.routed(b, x) && c.inv.Home(x) != b.Hypervisor || c.routesOwed(b)) {
			return false
		}
	}
	return true
}

// keeps reports whether the anchor is the home of a current address.
func (c *Core) keeps(b *Binding, a *Anchor) bool {
	for _, s := range b.Slots {
		if slices.Contains(a.Addrs, s) && c.inv.Home(s) == a.Hypervisor {
			return true
		}
	}
	return false
}

// holdsSource: home again, the routers are told first, then the source, which
// redirects by itself since the switch (unless there was no PREPARE).
func (c *Core) holdsSource(b *Binding) bool {
	m := c.moves[moveID{b.VM, b.Last}]
	return b.Last != 0 && m != nil && !m.Plain && m.needsSource() && c.home(b) &&
		slices.ContainsFunc(b.Routes, func(r Route) bool { return c.replaced(b, &r) })
}

// home reports whether the serving hypervisor is the home of all slots.
func (c *Core) home(b *Binding) bool {
	for _, s := range b.Slots {
		if c.inv.Home(s) != b.Hypervisor {
			return false
		}
	}
	return len(b.Slots) > 0
}

// replaced reports whether the route, of an address that has come home, waits to
// be replaced.
func (c *Core) replaced(b *Binding, r *Route) bool {
	return !r.Withdraw && !r.Confirmed && c.inv.Home(r.Addr) == b.Hypervisor
}

// strays reports whether routers may still lead to the move's destination from
// an earlier stay of the VM there. Where new connections are judged at the source
// the destination does not deliver what comes by them, and would send it back.
func (c *Core) strays(b *Binding, m *Move) bool {
	return m.Options.New != mobility.PolicyRedirect && b.anchor(m.To) != nil &&
		slices.ContainsFunc(b.Routes, func(r Route) bool { return r.Withdraw || !r.Confirmed || !c.routed(b, r.Addr) })
}

// routing reports whether a router still waits to be told, or to confirm.
func (b *Binding) routing() bool {
	return slices.ContainsFunc(b.Routes, func(r Route) bool { return r.Withdraw || !r.Confirmed })
}

// routesOwed reports whether a route waits to be installed or replaced.
func (c *Core) routesOwed(b *Binding) bool {
	return slices.ContainsFunc(b.Routes, func(r Route) bool { return !r.Withdraw && !r.Confirmed })
}

// spare lists the current slots whose delivery addresses nobody uses any more:
// the VM is at home again and every redirect has ended.
func (c *Core) spare(b *Binding) []netip.Addr {
	var list []netip.Addr
	for _, s := range b.Slots {
		_, reserved := b.delivery(s)
		routed := slices.ContainsFunc(b.Routes, func(r Route) bool { return r.Addr == s })
		if reserved && c.inv.Home(s) == b.Hypervisor && !b.redirected(s) && !routed && b.Open == 0 {
			list = append(list, s)
		}
	}
	return list
}

// owedDrained lists what the serving hypervisor may give up.
func (c *Core) owedDrained(list []owed, b *Binding) []owed {
	gone := c.spare(b)
	for _, o := range b.Old {
		if o.State == OldReleasing {
			gone = append(gone, o.Addr)
		}
	}
	if len(gone) == 0 || b.Hypervisor == "" {
		return list
	}
	r := b.request(mobility.HandoffUnknown, b.Epoch, 0, b.Options.WithPhase(mobility.PhaseCommit))
	r.Pairs = unmodified(sorted(gone))
	return append(list, owed{flightKey{b.Hypervisor, drained}, r})
}

// keepDue reports whether two thirds of a lifetime have passed since the peer
// confirmed the VM's state.
func (c *Core) keepDue(vm mobility.VMID, peer string, lifetime time.Duration) bool {
	return !c.now.Before(c.keepAt(vm, peer, lifetime))
}

func (c *Core) keepAt(vm mobility.VMID, peer string, lifetime time.Duration) time.Time {
	since, ok := c.vol(vm).kept[peer]
	if !ok {
		since = c.started
	}
	return since.Add(lifetime * 2 / 3)
}

func (c *Core) keptNow(vm mobility.VMID, peer string) {
	v := c.vol(vm)
	if v.kept == nil {
		v.kept = map[string]time.Time{}
	}
	v.kept[peer] = c.now
}
