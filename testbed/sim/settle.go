package sim

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/dpmip/dpmip/agent"
	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/haltest"
	"github.com/dpmip/dpmip/mgmt"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/wire"
)

// settleTime is how long everything may take to come to rest once the faults
// have ended: drains ask again after up to 16 times drainRetry.
const settleTime = 10 * time.Minute

// trialTime is how long one more route may be tried at a router that is full:
// until the address may change again, and has.
const trialTime = 2*budgetSettle + 2*budgetInterval

// checkEvery is how often it is looked whether all is quiet.
const checkEvery = 5 * time.Second

// settle lets time pass until all is quiet, and looks at what is left; then
// once more after every lifetime has run out.
func (w *World) settle() {
	end := w.now.Add(settleTime)
	for {
		if !w.until(w.now.Add(checkEvery)) {
			return
		}
		restless := w.restless()
		if restless == (finding{}) {
			break
		}
		if w.now.After(end) {
			w.broken(restless.in("no rest %v after the last fault: ", settleTime))
			return
		}
	}
	w.trace("== all is quiet")
	for _, g := range w.guests {
		if !w.forgot {
			g.hazard, g.hazardUntil = "", 0
		}
	}
	w.check()
	w.checkRest()
	w.net.count = map[wire.Type]int{}
	if !w.until(w.now.Add(bindingLifetime+30*time.Second)) || !w.untried() {
		return
	}
	w.check()
	w.checkRest()
	most := 30 * len(w.guests)
	if w.schedule.Mute { // an attempt, see untried, is refused again and again until it is given up
		most *= 2
	}
	if n := w.net.count[wire.TypeRequest]; n > most && !w.forgot {
		w.violate("%d requests in %v, although nothing happens", n, bindingLifetime)
	}
	r := w.restless()
	if r != (finding{}) { // a refresh of what is there, just now? It is over in a moment
		if !w.until(w.now.Add(checkEvery)) {
			return
		}
		r = w.restless()
	}
	if r != (finding{}) {
		w.broken(r.in("it was quiet, and is no longer: "))
	}
}

// untried waits for the end of an attempt to install a route at a router that
// seemed to be full and does not say what it has room for: now and then one more
// is tried there, and while it is, the address is translated. It reports whether
// the history goes on.
func (w *World) untried() bool {
	for end := w.now.Add(trialTime); w.schedule.Mute && !w.forgot && w.restless() != (finding{}) && w.now.Before(end); {
		if !w.until(w.now.Add(checkEvery)) {
			return false
		}
	}
	return true
}

// restless tells who has not come to rest, zero = nobody.
func (w *World) restless() finding {
	for _, p := range w.processes() {
		if !p.alive {
			return findingf("%s is dead", p.name)
		}
	}
	if w.forgot { // what the lost store knew, nobody may ever tell again
		if w.now.Before(w.patient.Add(2 * time.Minute)) {
			return findingf("everybody refreshes what an old backup does not know")
		}
		return finding{}
	}
	if n := w.mgmt.core.Outbox(); n > 0 {
		return findingf("the management node has %d messages out%s", n, w.trouble())
	}
	for _, m := range w.mgmt.core.Moves(mobility.VMID{}, true, 0) {
		return findingf("the move of %s %s -> %s in epoch %d is %s%s", m.VM, m.From, m.To, m.Epoch, m.State, w.trouble())
	}
	for _, g := range w.guests {
		if why := w.restlessGuest(g); why != (finding{}) {
			return why
		}
	}
	return finding{}
}

func (w *World) trouble() (s string) {
	for _, g := range w.guests {
		for _, n := range senders {
			if t := w.mgmt.core.Trouble(g.id, n); t != "" {
				s += fmt.Sprintf(" (%s, %s: %s)", g.id, n, t)
			}
		}
	}
	return s
}

func (w *World) restlessGuest(g *guest) finding {
	if g.job != nil {
		return findingf("orchestrator: %s", g.job)
	}
	b := w.binding(g)
	switch {
	case g.attached && (b == nil || b.Hypervisor != g.where):
		return findingf("%s runs at %s, and the management node has %s", g.id, g.where, tellBinding(b))
	case b != nil && !b.Grace.IsZero():
		return findingf("%s is in its grace time", g.id)
	case b != nil && (len(b.Old) > 0 || len(b.Quarantine) > 0):
		return findingf("%s has old addresses %v, quarantine %v, anchors %v", g.id, b.Old, b.Quarantine, b.Anchors)
	case b != nil && drains(b):
		return findingf("%s has anchors that drain: %v", g.id, b.Anchors)
	case b != nil && slices.ContainsFunc(b.Routes, func(r mgmt.Route) bool { return !r.Confirmed || r.Withdraw }):
		return findingf("%s has routes %v", g.id, b.Routes)
	}
	if b != nil && w.couldBeRouted(b) != "" {
		return findingf("%s of %s is translated, and every router has room", w.couldBeRouted(b), g.id)
	}
	for _, name := range hypervisorNames {
		h := w.hypervisors[name]
		if why := restlessRecord(h.record(g.id), g.where == name); why != (finding{}) {
			return why.in("%s at %s: ", g.id, name)
		}
		if slices.ContainsFunc(h.queue, func(j deviceJob) bool { return j.note == nil && !reads(j.effect) }) {
			return findingf("%s: its card is just being told", name)
		}
		if u := h.hands.Reconciler.Unsettled(); len(u) > 0 {
			return findingf("%s: rule %s is %s: %v", name, u[0].Rule.ID(), u[0].State, u[0].Err)
		}
	}
	return finding{}
}

// drains tells whether an anchor redirects what is not at home there.
func drains(b *mgmt.Binding) bool {
	for _, x := range b.Anchors {
		if slices.ContainsFunc(x.Addrs, func(a netip.Addr) bool { return ownerOf(a) != x.Hypervisor }) {
			return true
		}
	}
	return false
}

// idleSpent: a VM that was detached and is attached anew has no delivery address
// in use, of which the management node could say that it is the only one: those
// of its earlier stay end with its next move.
func idleSpent(r *agent.Record) bool {
	return r.Serving != nil && len(r.Serving.Deliveries) == 0 &&
		!slices.ContainsFunc(r.Spent, func(s agent.Spent) bool { return !s.Until.IsZero() })
}

func restlessRecord(r *agent.Record, serving bool) finding {
	switch {
	case r == nil:
		return finding{}
	case r.Incoming != nil:
		return findingf("a prepared arrival in epoch %d", r.Incoming.Epoch)
	case len(r.Spent) > 0 && !idleSpent(r):
		return findingf("spent delivery addresses %v", r.Spent)
	case r.Serving != nil && (r.Serving.Commit != nil || !r.Serving.Registered || r.Serving.Detaching):
		return findingf("a registration is owed")
	case r.Serving != nil && !serving:
		return findingf("it is served, and does not run there")
	case r.Leaving != nil && !r.Leaving.Done:
		return findingf("a prepared departure in epoch %d", r.Leaving.Epoch)
	}
	return finding{}
}

// checkRest looks at what must be left when all is quiet, and nothing else.
func (w *World) checkRest() {
	f := newFabric(w)
	w.checkRoom()
	for _, g := range w.guests {
		b := w.binding(g)
		// A binding that an old backup has wrong and that nobody's word corrects, and
		// a route that it does not know of, are an operator's to put right.
		if g.attached && !(w.forgot && !w.agreed(g, b)) {
			w.checkAttached(f, g)
		}
		w.checkLeft(g)
	}
}

// agreed tells whether the management node knows where a guest is, and anchors
// and routers know it from there. A restored one takes an anchor that has refused
// the last move's redirect to have it, and does not know one that has still to
// ask whether it may end.
func (w *World) agreed(g *guest, b *mgmt.Binding) bool {
	if g.job != nil || len(g.orphaned) > 0 || b == nil || b.Hypervisor != g.where ||
		slices.ContainsFunc(b.Anchors, func(a mgmt.Anchor) bool { return !a.Confirmed }) {
		return false
	}
	for _, name := range hypervisorNames {
		r := w.hypervisors[name].record(g.id)
		switch {
		case r == nil:
		case name != g.where && r.Serving != nil, r.Incoming != nil, r.Leaving != nil && !r.Leaving.Done:
			return false // of a move that is forgotten
		case r.Leaving != nil && r.Leaving.Epoch < b.Epoch:
			return false
		}
	}
	for _, name := range routerNames {
		for a := range w.routers[name].kernel {
			known := slices.ContainsFunc(b.Routes, func(r mgmt.Route) bool { return r.Router == name && r.Addr == a })
			if slices.Contains(g.addrs, a) && !known {
				return false
			}
		}
	}
	return true
}

// checkAttached: from everywhere, with one rewriting at most, and past the
// source where host routes lead.
func (w *World) checkAttached(f *fabric, g *guest) {
	b := w.binding(g)
	for _, a := range g.addrs {
		for _, from := range senders {
			o := f.Walk(from, a)
			if g.orphaned[a] && from == ownerOf(a) {
				continue
			}
			if o.Fate != Delivered || o.At != g.where || o.Port != g.port || o.To != a {
				w.violate("all is quiet: a packet from %s to %s of %s at %s is %s at %s (%s)", from, a, g.id, g.where, o.Fate, o.At, o.Reason)
				continue
			}
			if w.forgot {
				continue
			}
			if o.Rewrites > 1 {
				w.violate("all is quiet: a packet from %s to %s of %s at %s is rewritten %d times", from, a, g.id, g.where, o.Rewrites)
			}
			if b.Options.Redirect == mobility.RedirectRouted && !gaveWay(b, a) && o.Rewrites > 0 && from != ownerOf(a) {
				w.violate("all is quiet: a packet from %s to %s of %s, which is routed, passes %s", from, a, g.id, ownerOf(a))
			}
		}
	}
	if len(g.olds) > 0 && !w.forgot {
		w.violate("all is quiet: %s still has old addresses %v", g.id, g.olds)
	}
}

// gaveWay tells whether an address is translated for want of room at a router.
func gaveWay(b *mgmt.Binding, a netip.Addr) bool {
	return slices.ContainsFunc(b.Yields, func(y mgmt.Yield) bool { return y.Addr == a })
}

// checkRoom: no router holds more than it has room for.
func (w *World) checkRoom() {
	for _, name := range sortedKeys(w.schedule.Room) {
		if n := len(w.routers[name].kernel); n > w.schedule.Room[name] {
			w.violate("router %s holds %d routes and has room for %d", name, n, w.schedule.Room[name])
		}
	}
}

// couldBeRouted names an address that is translated although every router has
// room, "" = there is none.
func (w *World) couldBeRouted(b *mgmt.Binding) string {
	for _, y := range b.Yields {
		full := slices.ContainsFunc(sortedKeys(w.schedule.Room), func(name string) bool {
			return len(w.routers[name].kernel) >= w.schedule.Room[name]
		})
		if !full {
			return y.Addr.String()
		}
	}
	return ""
}

// checkLeft: no rule is on any card that has nothing to do any more, no route in
// any router's kernel.
func (w *World) checkLeft(g *guest) {
	if w.forgot { // what nobody knows of can be taken back by nobody
		return
	}
	for _, name := range hypervisorNames {
		rules, _ := w.hypervisors[name].device.Rules(context.Background())
		for _, r := range rules {
			if why := w.useless(g, name, r.Rule); why != "" {
				w.broken(finding{rule: why}.in("all is quiet: %s still has %s of %s (%s)", name, r.Rule.ID(), g.id, why))
			}
		}
	}
	for _, name := range routerNames {
		for a := range w.routers[name].kernel {
			if slices.ContainsFunc(probeRanges, func(p netip.Prefix) bool { return p.Contains(a) }) {
				w.violate("all is quiet: router %s still has a route for probe address %s", name, a)
			}
			b := w.binding(g)
			if slices.Contains(g.first, a) && (!g.attached || g.where == g.home || gaveWay(b, a) || b.Options.Redirect != mobility.RedirectRouted) {
				w.violate("all is quiet: router %s still has a route for %s of %s", name, a, g.id)
			}
		}
	}
}

// useless tells why a rule of a guest has no business on a card, "" = it has.
func (w *World) useless(g *guest, name string, rule hwabstraction.Rule) string {
	serving := g.attached && g.where == name
	switch r := rule.(type) {
	case hwabstraction.Egress:
		if r.Port == g.port && !(serving && slices.Contains(g.addrs, r.Source)) {
			return "the guard"
		}
	case hwabstraction.Deliver:
		switch {
		case r.Port != g.port:
		case !serving || !slices.Contains(g.addrs, r.Restore):
			return "delivery"
		case r.Address != r.Restore && ownerOf(r.Restore) == name && !idleSpent(w.hypervisors[name].record(g.id)):
			return "a delivery address of an address that is at home"
		}
	case hwabstraction.Redirect:
		if !slices.Contains(append(slices.Clone(g.first), g.addrs...), r.Address) {
			return ""
		}
		d := w.hypervisors[name].device.Decide(r.Address)
		if !g.attached || serving || ownerOf(r.Address) != name || !slices.Contains(g.addrs, r.Address) || d.Act != haltest.ActRedirect {
			return "the redirect"
		}
	}
	return ""
}
