package agent

import (
	"errors"
	"slices"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
	"github.com/dpmip/dpmip/offload"
)

// activated reports whether the move of an epoch was activated here: then only
// the COMMIT decides.
func (v *vm) activated(e mobility.Epoch) bool {
	s := v.Serving
	return s != nil && (s.Epoch == e || s.Commit != nil && s.Commit.Epoch == e)
}

// freeze is row 11: the move can no longer be activated here, and what arrives
// is still held.
func (c *Core) freeze(v *vm, a registration.Ask) {
	e := a.Request.Epoch
	if v.activated(e) {
		c.refuse(v, a, mobility.Refuse(mobility.StatusProhibited, "%s has been activated in epoch %d", v.VM, e))
		return
	}
	if in := v.Incoming; in != nil && in.Epoch <= e {
		in.Frozen = true
	}
	c.accept(v, a, registration.Reply{})
}

// abort is rows 12 and 13: by what the record holds of that epoch.
func (c *Core) abort(v *vm, a registration.Ask) {
	e := a.Request.Epoch
	switch in, l := v.Incoming, v.Leaving; {
	case v.activated(e):
		c.refuse(v, a, mobility.Refuse(mobility.StatusProhibited, "%s has been activated in epoch %d", v.VM, e))
	case in != nil && in.Epoch == e:
		c.abandon(v, a)
	case l != nil && l.Epoch == e && l.Done:
		c.refuse(v, a, mobility.Refuse(mobility.StatusProhibited, "%s: epoch %d is committed", v.VM, e))
	case l != nil && l.Epoch == e:
		c.stay(v, a)
	default:
		c.accept(v, a, registration.Reply{})
	}
}

// stay is row 12: the VM's port is back at the source.
func (c *Core) stay(v *vm, a registration.Ask) {
	c.flip(OpDisarm, offload.Stamp(v.VM, v.Leaving.Stamp), func(r Result) {
		if r.Err != nil && !errors.Is(r.Err, hwabstraction.ErrNoGroup) {
			c.refuse(v, a, r.Err)
			return
		}
		v.Leaving = nil
		c.finish(v, a)
	})
}

// abandon is row 13: what is held goes back into the fabric, and so do
// stragglers until the quarantine ends.
func (c *Core) abandon(v *vm, a registration.Ask) {
	in := v.Incoming
	over := func() {
		until := c.now.Add(c.cfg.Quarantine)
		v.Spent = append(slices.Clone(v.Spent), in.spend(SpentReturning, until)...)
		if in.Move.Addresses == mobility.AddressesRenumber {
			for _, s := range in.Slots {
				v.Spent = append(v.Spent, Spent{Delivery: mobility.Delivery{Old: s, D: s}, State: SpentQuarantine, Until: until})
			}
		}
		v.Incoming = nil
		c.finish(v, a)
	}
	if !in.Hold {
		over()
		return
	}
	c.emit(GiveBack{Stamp: offload.Stamp(v.VM, in.Epoch), Ref: c.await(func(r Result) {
		if r.Err != nil && !errors.Is(r.Err, hwabstraction.ErrNoGroup) {
			c.refuse(v, a, r.Err)
			return
		}
		over()
	})})
}

// finish makes a removal durable, carries it out and answers.
func (c *Core) finish(v *vm, a registration.Ask) {
	rest := func(err error) {
		if err != nil {
			c.refuse(v, a, err)
			return
		}
		c.apply(v, func(err error) {
			if err != nil {
				c.refuse(v, a, err)
				return
			}
			c.accept(v, a, registration.Reply{})
		})
	}
	v.setOrder(a.Order)
	c.persist(v, rest)
}

// cold is row 14: everything below the epoch goes, and nothing is redirected. In
// the epoch of the redirect itself it says that the redirect has drained.
func (c *Core) cold(v *vm, a registration.Ask) {
	e := a.Request.Epoch
	if e == 0 {
		e = v.Epoch + 1
	}
	if s := v.Serving; s != nil && (s.Epoch >= e || v.Epoch >= e) {
		c.refuse(v, a, mobility.Refuse(mobility.StatusProhibited, "%s is served here in epoch %d", v.VM, v.Epoch))
		return
	}
	if v.Serving != nil {
		c.stopRegistering(v)
		c.spendServing(v)
	}
	if l := v.Leaving; l != nil && (l.Epoch < e || l.Epoch == e && l.Done) {
		v.Leaving = nil
		c.stopDraining(v)
	}
	if in := v.Incoming; in != nil && in.Epoch < e {
		v.Spent = append(slices.Clone(v.Spent), in.spend(SpentQuarantine, c.now.Add(c.cfg.Quarantine))...)
		v.Incoming = nil
	}
	c.quarantine(v, func(s Spent) bool { return s.Epoch < e })
	v.Epoch = max(v.Epoch, a.Request.Epoch)
	c.finish(v, a)
}
