package agent

import (
	"net/netip"
	"slices"
	"time"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
	"github.com/dpmip/dpmip/offload"
)

var zeroTime time.Time

// leavingOf reads a redirect out of a Request.
func (c *Core) leavingOf(r *registration.Request, epoch mobility.Epoch, pairs []mobility.Pair) *Leaving {
	l := &Leaving{
		Stamp: epoch, Epoch: epoch, Pairs: slices.Clone(pairs), Locator: r.CareOf, Locator4: r.Locator4,
		Move: r.Move.WithPhase(mobility.PhaseSingle), Expires: c.now.Add(r.Lifetime.Duration()),
	}
	if !l.Locator.IsValid() {
		l.Locator = r.Locator4
	}
	return l
}

// sameWay reports whether two redirects forward alike.
func (l *Leaving) sameWay(o *Leaving) bool {
	return l.Locator == o.Locator && l.Locator4 == o.Locator4 && l.Move.New == o.Move.New && slices.Equal(l.Pairs, o.Pairs)
}

// checkRedirect refuses what cannot be redirected from here, whatever the phase.
func (c *Core) checkRedirect(v *vm, r *registration.Request) error {
	self := c.cfg.Registration.Self
	switch {
	case !r.CareOf.IsValid() && !r.Locator4.IsValid():
		return mobility.Refuse(mobility.StatusNotAuthorisedNode, "%s: no locator of the destination", r.VM)
	case r.CareOf == self || r.Locator4.IsValid() && (r.Locator4 == self || r.Locator4 == c.cfg.Locator4):
		return mobility.Refuse(mobility.StatusNotAuthorisedNode, "%s: the destination is this hypervisor itself", r.VM)
	case r.Epoch != 0 && r.Epoch < v.Epoch:
		return mobility.Refuse(mobility.StatusProhibited, "%s: epoch %d, known is %d", r.VM, r.Epoch, v.Epoch)
	case v.Serving != nil && v.Serving.Epoch != 0 && r.Epoch != 0 && r.Epoch <= v.Epoch:
		return mobility.Refuse(mobility.StatusProhibited, "%s is served here in epoch %d", r.VM, v.Epoch)
	}
	return nil
}

// depart is row 5: a VM that runs here is to leave. The redirect is installed,
// disarmed, and the VM's flows are loaded, before the answer.
func (c *Core) depart(v *vm, a registration.Ask) {
	r := &a.Request
	pairs, err := c.checkDeparture(v, r)
	if err != nil {
		c.refuse(v, a, err)
		return
	}
	next := c.leavingOf(r, r.Epoch, pairs)
	switch l := v.Leaving; {
	case l != nil && l.Armed: // released already: it goes on acting
		next.Stamp, next.Armed, next.Ready = l.Stamp, true, l.Ready && l.sameWay(next)
	case l != nil && l.Epoch == r.Epoch:
		next.Ready = l.Ready && l.sameWay(next)
	}
	c.leave(v, a, next, c.apply, func(prev Record) { c.snapshot(v, a, prev) })
}

// leave makes next the VM's redirect: in the record, then at the device. Where
// that cannot be, all is as before and the Request is refused.
func (c *Core) leave(v *vm, a registration.Ask, next *Leaving, apply func(*vm, func(error)), then func(prev Record)) {
	prev := v.Clone()
	v.Leaving = next
	v.setOrder(a.Order)
	v.seen(next.Epoch)
	if err := offload.Check(c.binding(v), c.cfg.Capabilities, a.Request.Move.Mode); err != nil {
		v.Record = prev
		c.refuse(v, a, err)
		return
	}
	c.persist(v, func(err error) {
		if err != nil {
			v.Record = prev
			c.refuse(v, a, err)
			return
		}
		apply(v, func(err error) {
			if err != nil {
				c.undo(v, a, prev, err)
				return
			}
			then(prev)
		})
	})
}

// checkDeparture gives the pairs of a PREPARE at the source.
func (c *Core) checkDeparture(v *vm, r *registration.Request) ([]mobility.Pair, error) {
	s := v.Serving
	if s == nil || s.Epoch == 0 || s.Detaching {
		return nil, mobility.Refuse(mobility.StatusNotVMForThisNode, "%s does not run here", r.VM)
	}
	if err := c.checkRedirect(v, r); err != nil {
		return nil, err
	}
	if r.Epoch < v.Known { // an epoch is issued for one move and never again
		return nil, mobility.Refuse(mobility.StatusProhibited, "%s: epoch %d, known is %d", r.VM, r.Epoch, v.Known)
	}
	pairs, err := pairsOf(r, s.Live())
	if err == nil && !sameSet(pairs, s.Live()) {
		err = mobility.Refuse(mobility.StatusPairMismatch, "%s: the pairs are not about its addresses here", r.VM)
	}
	return pairs, err
}

// undo goes back to what was before a Request that failed at the device, and
// refuses it.
func (c *Core) undo(v *vm, a registration.Ask, prev Record, err error) {
	armed := v.Leaving != nil && v.Leaving.Armed
	v.Record = prev
	if l := v.Leaving; l != nil { // released meanwhile
		l.Armed = l.Armed || armed
	}
	c.keep(v)
	c.settle(v)
	c.refuse(v, a, err)
}

// snapshot loads the VM's flows. Without them a policy other than redirect
// would cut established connections: then the answer waits for them, and the
// move is refused where they cannot be had. Where everything is redirected they
// are needed only by a later move with another policy, and reading them can take
// the kernel tens of milliseconds: letGo does, once the VM runs elsewhere.
func (c *Core) snapshot(v *vm, a registration.Ask, prev Record) {
	l := v.Leaving
	ready := func() {
		l.Ready = true
		c.accept(v, a, registration.Reply{})
	}
	if l.Move.New != mobility.PolicyDrop && l.Move.New != mobility.PolicyReject {
		v.unread = l.Stamp
		ready()
		return
	}
	c.readFlows(v, func(err error) {
		if err != nil {
			c.undo(v, a, prev, err)
			return
		}
		ready()
	})
}

// readFlows loads the flows of a VM that leaves.
func (c *Core) readFlows(v *vm, then func(error)) {
	l := v.Leaving
	v.unread = 0
	c.emit(SnapshotFlows{
		Stamp: offload.Stamp(v.VM, l.Stamp), Addrs: l.olds(),
		Ref: c.await(func(r Result) {
			if r.Err != nil {
				c.count("flow_snapshot_failed")
			}
			v.figures.flows = uint64(r.N)
			then(r.Err)
		}),
	})
}

// handoff is rows 7 and 15: the VM is elsewhere. At the source, delivery and
// Egress end after the redirect acts; at an anchor the redirect follows.
func (c *Core) handoff(v *vm, a registration.Ask) {
	r := &a.Request
	next, err := c.checkHandoff(v, r)
	if err != nil {
		c.refuse(v, a, err)
		return
	}
	apply := c.apply
	if l := v.Leaving; r.Handoff == mobility.HandoffMove && l != nil && l.Done && l.Epoch == next.Epoch {
		apply = c.verify // asked anew, by who is about to rely on it
	}
	if l := v.Leaving; l != nil && l.Armed {
		// The group acts: changing it in place leaves no moment without a
		// redirect, a new group would start switched off.
		next.Stamp, next.Armed, next.Done = l.Stamp, true, l.Done
	} else if l != nil && l.Epoch == next.Epoch {
		next.Ready = l.Ready && l.sameWay(next)
	}
	c.leave(v, a, next, apply, func(prev Record) { c.commitLeaving(v, a, prev) })
}

// checkHandoff gives the redirect that a committed move asks for.
func (c *Core) checkHandoff(v *vm, r *registration.Request) (*Leaving, error) {
	var live []netip.Addr
	switch {
	case v.Serving != nil && v.Serving.Epoch != 0:
		live = v.Serving.Live()
	case v.Leaving != nil:
		live = v.Leaving.olds()
	default:
		return nil, mobility.Refuse(mobility.StatusNotVMForThisNode, "%s did not run here", r.VM)
	}
	if err := c.checkRedirect(v, r); err != nil {
		return nil, err
	}
	pairs, err := pairsOf(r, live)
	if err != nil {
		return nil, err
	}
	// An old address may have drained without this hypervisor having been told; a
	// slot of the VM cannot.
	if !subset(pairs, live) || v.Serving != nil && !covers(pairs, v.Serving.Slots) {
		return nil, mobility.Refuse(mobility.StatusPairMismatch, "%s: the pairs are not about its addresses here", r.VM)
	}
	epoch := r.Epoch
	if epoch == 0 { // a peer that does not speak it
		epoch = v.Epoch
		if v.Serving != nil {
			epoch++
		}
	}
	return c.leavingOf(r, epoch, pairs), nil
}

// commitLeaving arms the redirect if release has not, then lets go of the VM.
func (c *Core) commitLeaving(v *vm, a registration.Ask, prev Record) {
	if !v.Leaving.Armed {
		c.flip(OpArm, offload.Stamp(v.VM, v.Leaving.Stamp), func(r Result) {
			if r.Err != nil {
				c.undo(v, a, prev, r.Err)
				return
			}
			v.Leaving.Armed = true
			v.armed(r)
			c.letGo(v, a)
		})
		return
	}
	c.letGo(v, a)
}

// letGo ends delivery and Egress of a VM that has left.
func (c *Core) letGo(v *vm, a registration.Ask) {
	l := v.Leaving
	first := !l.Done
	l.Ready, l.Done, v.Epoch = true, true, l.Epoch
	if v.Serving != nil {
		c.stopRegistering(v)
		c.spendServing(v)
	}
	c.dropDrained(v)
	// A refresh says that every anchor has followed: nobody sends any more to what
	// an earlier stay here had reserved.
	followed := a.Request.Handoff == mobility.HandoffUnchanged
	c.quarantine(v, func(s Spent) bool {
		return s.Until.IsZero() && (!l.hasPair(s.Old) || followed && s.Epoch < l.Epoch)
	})
	c.persist(v, func(err error) {
		if err != nil {
			c.refuse(v, a, err)
			return
		}
		c.apply(v, func(err error) {
			if err != nil {
				c.refuse(v, a, err)
				return
			}
			c.watch(v, first && v.unread != l.Stamp)
			if v.unread == l.Stamp { // if they cannot be had, the kernel's conntrack judges
				c.readFlows(v, func(error) { c.report(v) })
			}
			c.accept(v, a, registration.Reply{})
		})
	})
}
