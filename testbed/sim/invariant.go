package sim

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/dpmip/dpmip/agent"
	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/haltest"
	"github.com/dpmip/dpmip/mgmt"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/offload"
)

// senders are where packets come from: hosts at every router, VMs at every
// hypervisor.
var senders = append(slices.Clone(routerNames), hypervisorNames...)

// check looks at everything that must hold at every moment.
func (w *World) check() {
	f := newFabric(w)
	for _, g := range w.guests {
		w.drainOlds(g)
		g.gone = g.gone && !w.cleaned(g)
		w.endHazard(g)
		if !g.gone {
			w.checkPaths(f, g)
		}
		w.checkPlaces(g)
		w.checkPromises(g)
	}
}

func (w *World) checkPaths(f *fabric, g *guest) {
	for _, a := range g.live() {
		w.checkReach(f, g, a)
	}
	for _, d := range g.deliveries {
		w.checkDelivery(f, g, d)
	}
}

// cleaned tells whether nothing is left of an earlier stay of a guest that is
// attached again. A router that is still to be told may have a route of that stay.
func (w *World) cleaned(g *guest) bool {
	b := w.binding(g)
	return g.attached && b != nil && b.Epoch >= mobility.Epoch(g.top) &&
		!slices.ContainsFunc(b.Routes, func(r mgmt.Route) bool { return r.Withdraw || !r.Confirmed }) &&
		!slices.ContainsFunc(b.Anchors, func(a mgmt.Anchor) bool { return a.Cold || !a.Confirmed })
}

// endHazard ends a hazard that lasts until a move has been confirmed by all.
func (w *World) endHazard(g *guest) {
	if g.hazard == "" || g.hazardUntil == 0 || g.job != nil || !w.cleaned(g) {
		return
	}
	b := w.binding(g)
	if b.Epoch >= g.hazardUntil && !slices.ContainsFunc(b.Anchors, func(a mgmt.Anchor) bool { return !a.Confirmed }) &&
		!slices.ContainsFunc(b.Routes, func(r mgmt.Route) bool { return !r.Confirmed }) {
		g.hazard, g.hazardUntil = "", 0
	}
}

// checkReach follows packets to a live address from everywhere.
func (w *World) checkReach(f *fabric, g *guest, a netip.Addr) {
	must, why := w.mustReach(g)
	for _, from := range senders {
		o := f.Walk(from, a)
		must := must && !(g.orphaned[a] && from == ownerOf(a))
		switch {
		case o.Fate == Loop && w.forgot: // over host routes that nobody knows of
		case o.Fate == Loop:
			w.violate("a packet from %s to %s of %s goes in circles: %s", from, a, g.id, o.Reason)
		case (o.Fate == Delivered || o.Fate == Held) && o.Port != g.port:
			w.violate("a packet from %s to %s of %s is %s at %s on port %s", from, a, g.id, o.Fate, o.At, o.Port)
		case (o.Fate == Delivered || o.Fate == Held) && !slices.Contains(g.live(), o.To):
			w.violate("a packet from %s to %s of %s comes out as one to %s", from, a, g.id, o.To)
		case must && o.Fate == Lost:
			w.violate("a packet from %s to %s of %s (at %q%s) is lost: %s", from, a, g.id, g.where, why, o.Reason)
		case must && o.Fate == Delivered && o.At != g.where:
			w.violate("a packet from %s to %s of %s (at %q%s) is delivered to the empty port at %s", from, a, g.id, g.where, why, o.At)
		}
	}
}

// mustReach tells whether no packet to a guest may be lost now.
func (w *World) mustReach(g *guest) (bool, string) {
	if g.hazard != "" {
		return false, ""
	}
	if g.job == nil {
		return true, ""
	}
	// While a move is taken back, the VM is on its way home, and its source may
	// be ready for it before it comes.
	for _, m := range w.mgmt.moves[g.id] {
		if m.State == mgmt.MoveAborting || m.State == mgmt.MoveAborted && m.Epoch > mobility.Epoch(g.top) {
			return g.where == m.From, ", " + g.job.String()
		}
	}
	return true, ", " + g.job.String()
}

// checkDelivery follows packets to a delivery address: it may be free already,
// or another VM's by now, but nothing goes in circles.
func (w *World) checkDelivery(f *fabric, g *guest, d netip.Addr) {
	for _, from := range senders {
		if o := f.Walk(from, d); o.Fate == Loop && !w.forgot {
			w.violate("a packet from %s to the delivery address %s of %s goes in circles: %s", from, d, g.id, o.Reason)
		}
	}
}

// checkPlaces: at most one card delivers, and none with a lower epoch than was
// ever activated.
func (w *World) checkPlaces(g *guest) {
	delivering := map[string]bool{}
	for _, a := range g.live() {
		at := ""
		for _, name := range hypervisorNames {
			h := w.hypervisors[name]
			if h.dark {
				continue
			}
			d := h.device.Decide(a)
			if d.Act != haltest.ActDeliver {
				continue
			}
			delivering[name] = true
			epoch := d.Rule.Stamped().Epoch
			if r := h.record(g.id); r != nil && r.Serving != nil && r.Serving.Registered {
				epoch = max(epoch, uint32(r.Epoch)) // its binding is newer than its rules
			}
			switch {
			case (g.excused[name] || w.forgot) && epoch < g.top: // a lost store gives epochs out again
				continue
			case epoch < g.top:
				w.violate("%s delivers %s of %s in epoch %d, although %d was activated", name, a, g.id, epoch, g.top)
			case at != "":
				w.violate("both %s and %s deliver %s of %s", at, name, a, g.id)
			}
			at = name
		}
	}
	if len(g.live()) == 0 { // nobody has been seen not to deliver
		return
	}
	for name := range g.excused {
		h := w.hypervisors[name]
		r := h.record(g.id)
		told := r == nil || r.Serving == nil || uint32(r.Serving.Group.Epoch) == g.top
		if !delivering[name] && told && !h.dark && g.job == nil {
			delete(g.excused, name)
		}
	}
}

// drainOlds forgets old addresses that have drained, at their home at least: the
// fabric leads there.
func (w *World) drainOlds(g *guest) {
	if len(g.olds) == 0 {
		return
	}
	b := w.binding(g)
	if w.mgmt.core == nil {
		b = w.mgmt.durable(g.id)
	}
	g.olds = slices.DeleteFunc(g.olds, func(a netip.Addr) bool {
		if b == nil || b.Epoch < mobility.Epoch(g.top) {
			return false // the COMMIT is on its way
		}
		return !oldLive(b, a) || ownerOf(a) != b.Hypervisor && !anchored(b, ownerOf(a), a)
	})
}

func oldLive(b *mgmt.Binding, a netip.Addr) bool {
	return slices.ContainsFunc(b.Old, func(o mgmt.OldAddress) bool { return o.Addr == a && o.State == mgmt.OldLive })
}

// anchored tells whether a hypervisor is to redirect an address.
func anchored(b *mgmt.Binding, hypervisor string, a netip.Addr) bool {
	return slices.ContainsFunc(b.Anchors, func(x mgmt.Anchor) bool {
		return x.Hypervisor == hypervisor && !x.Cold && slices.Contains(x.Addrs, a)
	})
}

// checkPromises: what anchors and routers have confirmed, they hold.
func (w *World) checkPromises(g *guest) {
	b := w.binding(g)
	if b == nil || w.forgot || g.gone || g.hazard != "" {
		return
	}
	for _, a := range b.Anchors {
		if !a.Confirmed || a.Cold {
			continue
		}
		r := w.hypervisors[a.Hypervisor].record(g.id)
		if r != nil && r.Serving != nil && r.Serving.Group.Epoch > a.Epoch {
			continue // the VM has come home, the COMMIT is on its way
		}
		for _, old := range a.Addrs {
			if r == nil || r.Leaving == nil || r.Leaving.Epoch < a.Epoch || !slices.ContainsFunc(r.Leaving.Pairs, func(p mobility.Pair) bool { return p.Old == old }) {
				w.violate("%s has confirmed the redirect of %s of %s in epoch %d, and does not have it", a.Hypervisor, old, g.id, a.Epoch)
			}
		}
	}
	for _, r := range b.Routes {
		if b.Options.New != mobility.PolicyRedirect || b.Options.Redirect != mobility.RedirectRouted {
			break // none is wanted: what an earlier move has left is only withdrawn
		}
		if _, ok := w.routers[r.Router].kernel[r.Addr]; r.Confirmed && !r.Withdraw && !ok {
			w.violate("%s has confirmed the route of %s of %s in epoch %d, and does not have it", r.Router, r.Addr, g.id, r.Epoch)
		}
	}
}

// activated notes that a group was switched on.
func (w *World) activated(s hwabstraction.Stamp) {
	for _, g := range w.guests {
		if offload.Owner(g.id) == s.Owner {
			g.top = max(g.top, s.Epoch)
		}
	}
}

// acknowledged notes what an agent's record says of its registration.
func (w *World) acknowledged(hypervisor string, r *agent.Record) {
	s := r.Serving
	if s == nil || !s.Registered || s.Commit != nil || s.Detaching || s.Epoch == 0 {
		return
	}
	for _, g := range w.guests {
		if g.id == r.VM && r.Epoch >= g.acked.epoch {
			g.acked = ack{hypervisor, r.Epoch}
		}
	}
}

// checkAcknowledged: a management node that has come back knows every
// registration that it has acknowledged, or a later one.
func (w *World) checkAcknowledged() {
	for _, g := range w.guests {
		b := w.mgmt.core.Binding(g.id)
		switch {
		case w.forgot || g.acked.epoch == 0:
		case b == nil || b.Epoch < g.acked.epoch || b.Epoch == g.acked.epoch && b.Hypervisor != g.acked.hypervisor:
			w.violate("the management node has forgotten that %s serves %s in epoch %d: it has %s", g.acked.hypervisor, g.id, g.acked.epoch, tellBinding(b))
		}
	}
}

func tellBinding(b *mgmt.Binding) string {
	if b == nil {
		return "nothing"
	}
	return fmt.Sprintf("%q in epoch %d", b.Hypervisor, b.Epoch)
}

// storeLost: an old backup was restored.
func (w *World) storeLost() {
	w.forgot, w.patient = true, w.now.Add(bindingLifetime+time.Minute)
	for _, g := range w.guests {
		g.acked = ack{}
	}
	w.hazardAll("the management node's store was lost")
}

// hazardAll notes a loss on purpose that may hit every guest.
func (w *World) hazardAll(why string) {
	for _, g := range w.guests {
		g.endanger(why, 0)
	}
	w.trace("hazard: %s", why)
}
