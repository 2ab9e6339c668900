package agent

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/offload"
)

// waiter is a command whose answer waits for that of the management node.
type waiter struct {
	answer Answer
	t      *timer
}

// wait keeps an answer until the management node's, or no longer than d.
func (c *Core) wait(v *vm, a Answer, d time.Duration) {
	if d <= 0 {
		c.reply(v, a, nil)
		return
	}
	w := waiter{answer: a}
	c.timers.set(&w.t, c.now.Add(d), func() {
		v.waiting = slices.DeleteFunc(v.waiting, func(x waiter) bool { return x.answer.ID == a.ID })
		c.reply(v, a, nil)
	})
	v.waiting = append(v.waiting, w)
}

// tell answers everybody who waits for a VM.
func (c *Core) tell(v *vm, err error) {
	list := v.waiting
	v.waiting = nil
	for _, w := range list {
		c.timers.stop(&w.t)
		c.reply(v, w.answer, err)
	}
}

// reply completes an answer from the record as it is now.
func (c *Core) reply(v *vm, a Answer, err error) {
	a.Err = err
	if s := v.Serving; s != nil {
		a.Committed = s.Commit == nil && s.Registered
	}
	view := c.view(v)
	a.VM = &view
	c.emit(a)
}

func (c *Core) fail(id CommandID, code CommandCode, format string, args ...any) {
	c.emit(Answer{ID: id, Err: &CommandError{Code: code, Reason: fmt.Sprintf(format, args...)}})
}

// attach registers a VM whose port is here.
func (c *Core) attach(e Attach) {
	if err := e.VM.Validate(); err != nil {
		c.fail(e.ID, CommandInvalid, "%v", err)
		return
	}
	e = c.completed(e)
	if err := c.checkAttach(e); err != nil {
		c.emit(Answer{ID: e.ID, Err: err})
		return
	}
	v := c.get(e.VM)
	c.do(v, func() { c.attachNow(v, e) })
}

// completed fills an Attach from the configuration.
func (c *Core) completed(e Attach) Attach {
	s := c.cfg.Static[e.VM]
	if e.Port == "" {
		e.Port = c.port(&vm{Record: Record{VM: e.VM}})
	}
	if e.MAC.IsZero() {
		e.MAC = s.MAC
	}
	if len(e.Addresses) == 0 {
		e.Addresses = s.Addresses
	}
	v6, v4 := mobility.SplitFamilies(e.Addresses)
	e.Addresses = append(slices.Clone(v6), v4...)
	return e
}

func (c *Core) checkAttach(e Attach) error {
	bad := func(format string, args ...any) error {
		return &CommandError{Code: CommandInvalid, Reason: fmt.Sprintf(format, args...)}
	}
	switch {
	case e.Port == "":
		return bad("%s: no port given, and none is configured", e.VM)
	case e.MAC.IsZero():
		return bad("%s: no MAC address given, and none is configured", e.VM)
	case len(e.Addresses) == 0 || len(e.Addresses) > mobility.MaxSlots:
		return bad("%s: %d addresses, want 1 to %d", e.VM, len(e.Addresses), mobility.MaxSlots)
	}
	for i, a := range e.Addresses {
		if !a.IsValid() || a.Is4In6() || a.Zone() != "" || a.IsMulticast() || a.IsUnspecified() || a.IsLoopback() || a.IsLinkLocalUnicast() {
			return bad("%s: %s is no address of a VM", e.VM, a)
		}
		if owner, used := c.addrs.owner(a); used && owner != e.VM || contains(c.cfg.Pools, a) || slices.Contains(e.Addresses[:i], a) {
			return bad("%s: address %s is in use", e.VM, a)
		}
	}
	return nil
}

func (c *Core) attachNow(v *vm, e Attach) {
	refuse := func(code CommandCode, format string, args ...any) {
		c.fail(e.ID, code, format, args...)
		c.done(v)
	}
	prev := v.Clone()
	switch s := v.Serving; {
	case v.Incoming != nil:
		refuse(CommandNotReady, "%s: a move to here is prepared: activate it", e.VM)
		return
	case s == nil && v.Leaving != nil && !v.Leaving.Done, s != nil && s.Detaching:
		refuse(CommandNotReady, "%s is leaving", e.VM)
		return
	case s != nil && !slices.Equal(s.Slots, e.Addresses):
		refuse(CommandInvalid, "%s is attached with other addresses: detach it first", e.VM)
		return
	case s == nil:
		v.Serving = &Serving{Group: Group{Port: e.Port, Slots: e.Addresses}, Plain: e.plain || v.Leaving != nil}
	}
	v.MAC, v.Serving.Port = e.MAC, e.Port
	c.account(v)
	c.persist(v, func(err error) {
		if err != nil {
			v.Record = prev
			c.emit(Answer{ID: e.ID, Err: &CommandError{Code: CommandFull, Reason: fmt.Sprintf("%s: not kept", e.VM), Err: err}})
			c.done(v)
			return
		}
		if prev.Serving != nil && prev.Serving.Port != e.Port {
			c.settle(v)
		}
		c.submit(v)
		c.wait(v, Answer{ID: e.ID}, e.Wait)
		c.done(v)
	})
}

// release arms the prepared redirect, at once: it waits for nothing.
func (c *Core) release(e Release) {
	v := c.vms[e.VM]
	if v == nil || v.Leaving == nil || !v.Leaving.Ready || v.Incoming != nil {
		c.fail(e.ID, CommandNotReady, "%s: no move from here is prepared", e.VM)
		return
	}
	l := v.Leaving
	c.flip(OpArm, offload.Stamp(e.VM, l.Stamp), func(r Result) {
		if r.Err != nil {
			c.emit(Answer{ID: e.ID, Err: &CommandError{Code: CommandDevice, Reason: fmt.Sprintf("%s: not armed", e.VM), Err: r.Err}})
			return
		}
		c.emit(Answer{ID: e.ID, Epoch: l.Epoch, ArmedAt: r.At, Took: r.Took})
		if now := v.Leaving; now != nil && !now.Armed {
			now.Armed = true
			v.armed(r)
			c.keep(v)
		}
	})
}

// activate releases the hold: the VM runs here.
func (c *Core) activate(e Activate) {
	v := c.vms[e.VM]
	if v == nil {
		if s := c.cfg.Static[e.VM]; len(s.Addresses) > 0 {
			c.plain(e, s.Addresses, s.MAC)
			return
		}
		c.fail(e.ID, CommandNotFound, "%s: no move to here is prepared", e.VM)
		return
	}
	c.do(v, func() { c.activateNow(v, e) })
}

// plainWait is how long an arrival without a PREPARE waits at least for the
// management node, which may refuse it: nothing is delivered before.
const plainWait = 10 * time.Second

// plain attaches a VM that arrives without a PREPARE: the draft's flow.
func (c *Core) plain(e Activate, addrs []netip.Addr, mac mobility.MAC) {
	a := c.completed(Attach{ID: e.ID, VM: e.VM, Port: e.Port, MAC: mac, Addresses: addrs, Wait: max(e.Wait, plainWait), plain: true})
	if err := c.checkAttach(a); err != nil {
		c.emit(Answer{ID: e.ID, Err: err})
		return
	}
	v := c.get(e.VM)
	c.do(v, func() { c.attachNow(v, a) })
}

func (c *Core) activateNow(v *vm, e Activate) {
	in := v.Incoming
	reason := ""
	switch s := v.Serving; {
	case in == nil && s != nil && s.Epoch != 0 && !s.Detaching && v.Leaving == nil:
		c.wait(v, Answer{ID: e.ID, Epoch: s.Epoch, Addresses: s.Slots, Olds: s.Olds}, whenOwed(s, e.Wait))
		c.done(v)
		return
	case in == nil && s == nil && v.Leaving != nil && v.Leaving.Done:
		c.done(v)
		c.plain(e, v.Leaving.olds(), v.MAC)
		return
	case in == nil && s != nil && (s.Epoch == 0 || s.Detaching):
		reason = "it is being attached or detached"
	case in == nil && s != nil:
		reason = "it was released for a move: abort that at the management node"
	case in == nil:
		reason = "no move to here is prepared"
	case in.Frozen:
		reason = "the move is being aborted"
	case !in.Ready:
		reason = "the device has not confirmed its rules"
	case in.Epoch <= v.Epoch:
		reason = fmt.Sprintf("epoch %d is committed elsewhere", v.Epoch)
	}
	if reason != "" {
		c.fail(e.ID, CommandNotReady, "%s: %s", e.VM, reason)
		c.done(v)
		return
	}
	if e.Port == "" || e.Port == in.Port {
		c.switchOn(v, e)
		return
	}
	was := in.Port
	in.Port = e.Port
	c.apply(v, func(err error) {
		if err != nil {
			in.Port = was
			c.settle(v)
			c.emit(Answer{ID: e.ID, Err: &CommandError{Code: CommandDevice, Reason: fmt.Sprintf("%s: port %s", e.VM, e.Port), Err: err}})
			c.done(v)
			return
		}
		c.switchOn(v, e)
	})
}

// whenOwed waits only for a COMMIT that is owed.
func whenOwed(s *Serving, d time.Duration) time.Duration {
	if s.Commit == nil {
		return 0
	}
	return d
}

// switchOn makes "activated, COMMIT owed" durable, activates, and only then
// speaks.
func (c *Core) switchOn(v *vm, e Activate) {
	in, prev := v.Incoming, v.Clone()
	back := func(code CommandCode, err error) {
		v.Record = prev
		c.keep(v)
		c.emit(Answer{ID: e.ID, Err: &CommandError{Code: code, Reason: fmt.Sprintf("%s: not activated", e.VM), Err: err}})
		c.done(v)
	}
	v.Serving = &Serving{Group: in.Group, Commit: &Commit{Epoch: in.Epoch, Ticket: in.Ticket, Move: in.Move}}
	v.Incoming, v.Leaving = nil, nil // own redirects of lower epochs are overridden
	v.Epoch = in.Epoch
	v.seen(in.Epoch)
	c.persist(v, func(err error) {
		if err != nil {
			back(CommandFull, err)
			return
		}
		c.flip(OpActivate, offload.Stamp(v.VM, in.Epoch), func(r Result) {
			if r.Err != nil {
				back(CommandDevice, r.Err)
				return
			}
			c.stopDraining(v)
			if l := prev.Leaving; l != nil {
				c.reportLeaving(v, l) // the last figures of the redirect that ends
			}
			c.emit(Announce{Port: in.Port})
			c.submit(v)
			c.wait(v, Answer{ID: e.ID, Epoch: in.Epoch, Addresses: in.Slots, Olds: in.Olds, Took: r.Took}, e.Wait)
			c.settle(v)
			c.done(v)
		})
	})
}

// detach ends a VM: its rules go at once, the deregistration is sent until it
// is answered.
func (c *Core) detach(e Detach) {
	v := c.vms[e.VM]
	if v == nil {
		c.fail(e.ID, CommandNotFound, "no VM %s here", e.VM)
		return
	}
	c.do(v, func() {
		s, l := v.Serving, v.Leaving
		switch {
		case s == nil && v.Incoming != nil:
			c.fail(e.ID, CommandNotReady, "%s: a move to here is prepared: abort it at the management node", e.VM)
			c.done(v)
			return
		case s != nil && l != nil && l.Armed:
			c.fail(e.ID, CommandNotReady, "%s was released for a move, which ends its stay here", e.VM)
			c.done(v)
			return
		case s == nil: // it has left already
			c.reply(v, Answer{ID: e.ID}, nil)
			c.done(v)
			return
		}
		registered := s.Registered || s.Commit != nil || s.Epoch != 0
		v.Leaving = nil
		until := c.now.Add(c.cfg.Quarantine)
		v.Spent = append(slices.Clone(v.Spent), s.spend(SpentQuarantine, until)...)
		c.quarantine(v, func(Spent) bool { return true })
		v.Serving = &Serving{Group: Group{Port: s.Port, Slots: s.Slots}, Detaching: true, Registered: true, Commit: s.Commit}
		if !registered {
			c.stopRegistering(v)
			v.Serving = nil
		}
		if !v.Empty() {
			c.keep(v)
		}
		c.settle(v)
		c.submit(v)
		if !registered {
			e.Wait = 0
		}
		c.wait(v, Answer{ID: e.ID}, e.Wait)
		c.done(v)
	})
}
