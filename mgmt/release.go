package mgmt

import (
	"net/netip"
	"slices"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
)

// release decides a Request with lifetime 0. Who sends it makes its meaning:
// the serving hypervisor says that the VM is gone (or that old addresses whose
// home it is are quiet), an anchor asks whether it may remove its redirect.
func (c *Core) release(q *question) error {
	b, r := q.b, &q.Request
	if b == nil {
		return mobility.Refuse(mobility.StatusNotVMForThisNode, "vm %s is unknown", r.VM)
	}
	if err := checkReleaseEpoch(c.inv.Policy.Tickets, b, r.Epoch); err != nil {
		return err
	}
	switch {
	case b.Hypervisor == q.host.Name && allOld(b, r.Slots):
		return c.quietServing(q)
	case b.Hypervisor == q.host.Name:
		return c.deregister(q)
	}
	return c.mayDrain(q)
}

func checkReleaseEpoch(tickets bool, b *Binding, e mobility.Epoch) error {
	switch {
	case e == 0 && tickets:
		return mobility.Refuse(mobility.StatusProhibited, "a removal needs the epoch it refers to")
	case e > b.Epoch:
		return mobility.Refuse(mobility.StatusProhibited, "epoch %d is not the binding's %d", e, b.Epoch)
	}
	return nil
}

func allOld(b *Binding, addrs []netip.Addr) bool {
	for _, a := range addrs {
		if b.old(a) == nil || slices.Contains(b.Slots, a) {
			return false
		}
	}
	return true
}

// deregister keeps the entry for the grace time: a destination that registers
// in it makes it a move.
func (c *Core) deregister(q *question) error {
	r := &q.Request
	if r.Epoch != 0 && r.Epoch < q.b.Base {
		return mobility.Refuse(mobility.StatusProhibited, "epoch %d is older than the binding's %d", r.Epoch, q.b.Base)
	}
	if !sameSet(r.Slots, q.b.Slots) {
		return mobility.Refuse(mobility.StatusPairMismatch, "the slots are not those of the binding")
	}
	b := c.tx.edit(r.VM)
	if b.Grace.IsZero() {
		b.Grace = c.now.Add(c.inv.Lifetimes.Grace)
	}
	c.accept(q, b, "deregister", registration.Reply{Epoch: b.Epoch})
	return nil
}

// notYet is the refusal of an anchor's ordinary question: it keeps redirecting
// and asks again. Nothing is wrong.
type notYet struct{ *mobility.StatusError }

func (e notYet) Unwrap() error { return e.StatusError }

func notYetf(format string, args ...any) error {
	return notYet{mobility.Refuse(mobility.StatusProhibited, format, args...)}
}

// mayDrain answers an anchor that finds its redirect quiet. Where only some of
// the addresses may go, the answer is 129 and the anchor is told, by row 7,
// which ones it must keep. The answer may be lost and the redirect go on: what
// depends on its end waits until the anchor has confirmed a row 7 or 14.
func (c *Core) mayDrain(q *question) error {
	var may []netip.Addr
	var why error
	for _, a := range q.Request.Slots {
		if err := c.drainable(q, a); err != nil {
			why = err
			continue
		}
		may = append(may, a)
	}
	if len(may) == 0 {
		return why
	}
	b := c.tx.edit(q.Request.VM)
	if a := b.anchor(q.host.Name); a != nil && !a.Cold {
		for _, x := range may {
			if slices.Contains(a.Addrs, x) {
				a.Draining = append(a.Draining, x)
				a.Confirmed = false
			}
		}
		a.Addrs = slices.DeleteFunc(a.Addrs, func(x netip.Addr) bool { return slices.Contains(may, x) })
		a.Cold = len(a.Addrs) == 0
	}
	if why == nil {
		c.accept(q, b, "drain", registration.Reply{Epoch: b.Epoch, Slots: q.Request.Slots})
	}
	c.advance(b)
	return why
}

// drainable applies section 3 of the protocol profile to one address at one
// anchor: nil, or why it must go on redirecting.
func (c *Core) drainable(q *question, a netip.Addr) error {
	b, me := q.b, q.host.Name
	slot := slices.Contains(b.Slots, a)
	anchor := b.anchor(me)
	switch {
	case b.Hypervisor == "":
		return nil // the VM is gone
	case !b.Grace.IsZero() || q.open != nil:
		return notYetf("vm %s is moving or leaving, ask again", b.VM)
	case slot && (c.inv.Home(a) == me || c.inv.Home(a) == ""):
		return notYetf("%s is kept and at home here", a)
	case anchor == nil || !slices.Contains(anchor.Addrs, a):
		return nil // agreed before: the answer was lost
	case anchor.Cold && b.routing(): // a router that has not been told may still lead here
		return notYetf("routers have not confirmed epoch %d", b.Epoch)
	case anchor.Cold:
		return nil
	case !anchor.Confirmed || q.Request.Epoch != anchor.Epoch:
		return notYetf("the redirect of epoch %d is not confirmed here", anchor.Epoch)
	case !slot && !c.outlived(b):
		return notYetf("%s, which serves the VM, has not been heard since its COMMIT", b.Hypervisor)
	}
	return c.othersConfirmed(b, me, a)
}

// outlived reports whether the serving hypervisor has been heard since the COMMIT,
// or its next heartbeat is not due yet. One that died with the COMMIT may not have
// said what addresses the VM has now: the VM goes on with the old ones until a
// successor says so.
func (c *Core) outlived(b *Binding) bool {
	k, at := c.contacts[b.Hypervisor], c.arrived(b)
	return k == nil || k.heard.After(at) || c.now.Sub(at) <= c.inv.Timers.Heartbeat
}

// othersConfirmed: every other anchor and, routed, every router must point to
// the serving hypervisor before one that redirects may stop.
func (c *Core) othersConfirmed(b *Binding, me string, a netip.Addr) error {
	for i := range b.Anchors {
		o := &b.Anchors[i]
		if o.Hypervisor != me && !o.Cold && slices.Contains(o.Addrs, a) && !o.Confirmed {
			return notYetf("anchor %s has not confirmed epoch %d", o.Hypervisor, o.Epoch)
		}
	}
	for _, r := range b.Routes {
		if r.Addr == a && (!r.Confirmed || r.Withdraw) {
			return notYetf("router %s has not confirmed epoch %d", r.Router, r.Epoch)
		}
	}
	if why := c.unproved(b, a); why != "" {
		return notYetf("%s", why)
	}
	return nil
}

// quietServing notes that the serving hypervisor, when nobody redirects old
// addresses to it any more, finds their delivery quiet.
func (c *Core) quietServing(q *question) error {
	r := &q.Request
	if q.open != nil {
		return notYetf("vm %s is moving, ask again", r.VM)
	}
	for _, a := range r.Slots {
		if q.b.redirected(a) { // what becomes of it shows here only afterwards
			return notYetf("%s is redirected by others", a)
		}
		if err := c.othersConfirmed(q.b, q.host.Name, a); err != nil && q.b.old(a).State == OldLive {
			return err
		}
	}
	b := c.tx.edit(r.VM)
	for _, a := range r.Slots {
		b.old(a).Quiet = true
	}
	c.accept(q, b, "drain", registration.Reply{Epoch: b.Epoch, Slots: r.Slots})
	c.advance(b)
	return nil
}
