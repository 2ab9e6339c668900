package agent

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
	"github.com/dpmip/dpmip/offload"
)

// submission says which row of docs/moves.md a VM's open Request is.
type submission uint8

const (
	submitNone       submission = iota
	submitRegister              // 1, 16
	submitRefresh               // 2
	submitDeregister            // 3
	submitCommit                // 6
	submitDrain                 // 9
)

// rotateAfter is how many unanswered transmissions make another management
// node be tried.
const rotateAfter = 3

// submit sends what the VM's record owes the management node; it is
// retransmitted until answered.
func (c *Core) submit(v *vm) {
	s := v.Serving
	if s == nil {
		return
	}
	c.stopRegistering(v)
	switch {
	case s.Commit != nil: // also before it is deregistered: the binding is elsewhere still
		v.kind = submitCommit
	case s.Detaching:
		v.kind = submitDeregister
	case s.Registered:
		v.kind = submitRefresh
	default:
		v.kind = submitRegister
	}
	c.send(v, c.request(v))
}

// send submits a Request under the VM's token.
func (c *Core) send(v *vm, r registration.Request) {
	if v.token == 0 {
		c.token++
		v.token = c.token
		c.tokens[v.token] = v
	}
	c.handle(c.node.Submit(c.now, v.token, c.management(), r, nil))
}

func (c *Core) management() netip.Addr { return c.cfg.Registration.Management[c.mgmt] }

// request builds the Request of the VM's open submission.
func (c *Core) request(v *vm) registration.Request {
	s := v.Serving
	r := registration.Request{
		VM: v.VM, MAC: v.MAC, Slots: s.Slots, Lifetime: mobility.LifetimeOf(c.cfg.Lifetime), Epoch: v.Epoch,
	}
	if slices.ContainsFunc(s.Slots, netip.Addr.Is4) {
		r.Locator4 = c.cfg.Locator4
	}
	switch v.kind {
	case submitRegister:
		r.Handoff = mobility.HandoffNew
		if s.Plain {
			c.own(&r)
			r.Handoff = mobility.HandoffMove
		}
	case submitRefresh:
		r.Handoff = mobility.HandoffUnchanged
	case submitDeregister:
		r.Handoff, r.Lifetime, r.MAC, r.Locator4 = mobility.HandoffUnknown, 0, mobility.MAC{}, netip.Addr{}
	case submitCommit:
		c.own(&r)
		r.Handoff, r.Epoch, r.Ticket = mobility.HandoffMove, s.Commit.Epoch, s.Commit.Ticket
		r.Move, r.Deliveries = s.Commit.Move.WithPhase(mobility.PhaseCommit), s.Deliveries
	}
	return r
}

// own adds the locators of this hypervisor.
func (c *Core) own(r *registration.Request) {
	if self := c.cfg.Registration.Self; self.Is6() {
		r.CareOf = self
	} else {
		r.Locator4 = self
	}
	if c.cfg.Locator4.IsValid() {
		r.Locator4 = c.cfg.Locator4
	}
}

// stopRegistering ends the VM's open Request and its refreshes.
func (c *Core) stopRegistering(v *vm) {
	c.timers.stop(&v.next)
	c.drop(v)
}

// drop lets go of the open Request.
func (c *Core) drop(v *vm) {
	if v.token != 0 {
		c.node.Cancel(v.token)
		delete(c.tokens, v.token)
		v.token, v.kind = 0, submitNone
	}
	v.asking = nil
}

// again submits once more after a while.
func (c *Core) again(v *vm, after time.Duration) {
	c.timers.set(&v.next, c.now.Add(after), func() { c.submit(v) })
}

// jitter gives d, give or take a twentieth.
func (c *Core) jitter(d time.Duration) time.Duration {
	return d - d/20 + time.Duration(c.addrs.rand.Int64N(int64(d/10)+1))
}

// refreshAfter is when a granted lifetime is refreshed: at two thirds.
func (c *Core) refreshAfter(l mobility.Lifetime) time.Duration { return c.jitter(l.Duration() * 2 / 3) }

// registerAll registers every VM again, spread out.
func (c *Core) registerAll() {
	for _, v := range c.sorted() {
		if v.Serving != nil {
			c.again(v, time.Duration(c.addrs.rand.Int64N(int64(c.cfg.Spread)+1)))
		}
	}
}

// unanswered tries another management node, if there is one.
func (c *Core) unanswered(e registration.Unanswered) {
	v := c.tokens[e.Token]
	list := c.cfg.Registration.Management
	if v == nil || len(list) < 2 || e.Tries < rotateAfter && !e.Refused {
		return
	}
	if e.To == c.management() {
		c.mgmt = (c.mgmt + 1) % len(list)
		c.count("management_changed")
	}
	if v.kind == submitDrain {
		c.askDrain(v, v.asking)
		return
	}
	c.send(v, c.request(v))
}

// replied takes the answer to a VM's Request.
func (c *Core) replied(e registration.Replied) {
	v := c.tokens[e.Token]
	if v == nil {
		return
	}
	kind, asked := v.kind, v.asking
	c.drop(v)
	v.seen(e.Reply.Epoch)
	c.count("replied_" + kind.String() + "_" + outcome(e.Reply.Status))
	c.do(v, func() {
		switch kind {
		case submitDrain:
			c.mayI(v, e.Reply, asked)
		case submitDeregister:
			c.gone(v, e.Reply)
		default:
			c.registered(v, kind, e.Reply)
		}
	})
}

func outcome(s mobility.Status) string {
	if s.Accepted() {
		return "accepted"
	}
	return "refused"
}

func (k submission) String() string {
	return [...]string{"none", "register", "refresh", "deregister", "commit", "drain"}[k]
}

// registered takes the answer to rows 1, 2, 6 and 16.
func (c *Core) registered(v *vm, kind submission, r registration.Reply) {
	s := v.Serving
	switch {
	case s != nil && s.Detaching && kind == submitCommit && r.Status.Accepted():
		v.Epoch, s.Commit = max(v.Epoch, r.Epoch), nil
		c.keep(v)
		c.submit(v) // now it can be deregistered
		c.done(v)
	case s == nil || s.Detaching && kind != submitCommit:
		c.done(v)
	case !r.Status.Accepted():
		c.refusedBy(v, kind, r)
	default:
		v.problem = ""
		v.Epoch = max(v.Epoch, r.Epoch, 1)
		v.seen(v.Epoch)
		s.Registered, s.Plain, s.Lifetime, s.Expires = true, false, r.Lifetime, c.now.Add(r.Lifetime.Duration())
		if kind == submitCommit && s.Commit != nil {
			s.Commit = nil
			c.watch(v, true)
		}
		c.again(v, c.refreshAfter(r.Lifetime))
		// A binding newer than the own redirect: the VM was gone, and is attached
		// again here before this hypervisor was told.
		back := v.Leaving != nil && v.Leaving.Epoch < r.Epoch
		if s.Epoch != 0 && !back {
			c.unspend(v, kind, r.Deliveries)
			c.keep(v)
			c.tell(v, nil)
			c.done(v)
			return
		}
		s.Epoch = v.Epoch
		c.goLive(v)
	}
}

// unspend ends the delivery addresses of earlier stays here, once the management
// node lists those that somebody sends to.
func (c *Core) unspend(v *vm, kind submission, used []mobility.Delivery) {
	over := func(s Spent) bool {
		return s.Until.IsZero() && s.Epoch < v.Serving.Epoch && !slices.Contains(used, s.Delivery)
	}
	if kind == submitRefresh && len(used) > 0 && slices.ContainsFunc(v.Spent, over) {
		c.quarantine(v, over)
		c.settle(v)
	}
}

// goLive installs a VM that was registered for the first time.
func (c *Core) goLive(v *vm) {
	s := v.Serving
	c.keep(v)
	c.apply(v, func(err error) {
		if err != nil {
			c.count("apply_failed")
			v.problem = err.Error()
		}
		c.flip(OpActivate, offload.Stamp(v.VM, s.Epoch), func(r Result) {
			if err == nil {
				err = r.Err
			}
			if v.Leaving != nil || len(v.Spent) > 0 { // back without a PREPARE: the own redirect is overridden
				v.Leaving = nil
				c.orphan(v)
				c.keep(v)
				c.settle(v)
			}
			if err != nil {
				c.tell(v, &CommandError{Code: CommandDevice, Reason: fmt.Sprintf("%s is registered, but not all of its rules are installed", v.VM), Err: err})
			} else {
				c.emit(Announce{Port: s.Port})
				c.tell(v, nil)
			}
			c.done(v)
		})
	})
}

// refusedBy takes a refusal: forwarding stays as it is, and another try
// follows. An attach that somebody waits for is undone.
func (c *Core) refusedBy(v *vm, kind submission, r registration.Reply) {
	refusal := mobility.Refuse(r.Status, "%s of %s", kind, v.VM)
	v.problem = refusal.Error()
	c.emit(Note{Level: LevelWarn, VM: v.VM, Text: "the management node refused", Err: refusal})
	s := v.Serving
	if kind == submitRegister && s.Epoch == 0 && len(v.waiting) > 0 {
		v.Serving = nil
		c.keep(v)
		c.tell(v, refusal)
		c.done(v)
		return
	}
	if kind == submitRefresh && r.Status == mobility.StatusNotVMForThisNode {
		s.Registered = false // it does not know the VM: register it anew
	}
	after := c.cfg.RefusedRetry
	if r.Status == mobility.StatusTimestampMismatch || r.Status == mobility.StatusTimestampOlder {
		after = min(after, time.Second) // the answer has set the clock's offset
	}
	c.tell(v, nil)
	c.again(v, c.jitter(after))
	c.done(v)
}

// gone takes the answer to row 3. Whatever it is, the VM is not here; where it
// was refused for the moment only, the management node is told again.
func (c *Core) gone(v *vm, r registration.Reply) {
	if !r.Status.Accepted() {
		c.emit(Note{Level: LevelWarn, VM: v.VM, Text: "deregistration refused", Err: mobility.Refuse(r.Status, "deregister %s", v.VM)})
	}
	if passing(r.Status) && v.Serving != nil && v.Serving.Detaching {
		c.again(v, c.jitter(c.cfg.RefusedRetry))
		c.done(v)
		return
	}
	if v.Serving != nil && v.Serving.Detaching {
		v.Serving = nil
	}
	if !v.Empty() {
		c.keep(v)
	}
	c.tell(v, nil)
	c.done(v)
}

// passing reports whether a refusal says nothing about the Request itself: the
// management node has no room, or the clocks disagreed.
func passing(s mobility.Status) bool {
	switch s {
	case mobility.StatusUnspecified, mobility.StatusResources, mobility.StatusTimestampMismatch, mobility.StatusTimestampOlder:
		return true
	}
	return false
}
