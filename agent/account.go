package agent

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/dpmip/dpmip/mobility"
)

// account takes the addresses that a VM's record names and frees those that it
// no longer does. Every change of a record ends with it.
func (c *Core) account(v *vm) {
	now := v.addresses()
	for _, a := range now {
		if _, used := c.addrs.owner(a); !used {
			c.addrs.take(v.VM, a)
		}
	}
	for _, a := range v.held {
		if !slices.Contains(now, a) && !slices.Contains(c.cfg.Static[v.VM].Addresses, a) {
			c.addrs.free(v.VM, a)
		}
	}
	v.held = now
}

// addresses gives every address that the record keeps from others.
func (r *Record) addresses() []netip.Addr {
	var out []netip.Addr
	group := func(g *Group) {
		out = append(append(out, g.Slots...), g.Olds...)
		for _, d := range g.Deliveries {
			out = append(out, d.D)
		}
	}
	if r.Serving != nil {
		group(&r.Serving.Group)
	}
	if r.Incoming != nil {
		group(&r.Incoming.Group)
	}
	if r.Leaving != nil {
		out = append(out, r.Leaving.olds()...)
	}
	for _, s := range r.Spent {
		out = append(out, s.D)
	}
	return out
}

// port gives the port that a VM will have here; empty where none is known.
func (c *Core) port(v *vm) string {
	if s, ok := c.cfg.Static[v.VM]; ok && s.Port != "" {
		return s.Port
	}
	if v.VM.Subtype != mobility.IDNAI {
		return ""
	}
	name, _, _ := strings.Cut(v.VM.Bytes, "@")
	p := strings.ReplaceAll(c.cfg.PortTemplate, "{vm}", name)
	if len(p) > 15 || strings.ContainsAny(p, "/ ") { // IFNAMSIZ
		return ""
	}
	return p
}

// maxRestores bounds how many delivery addresses of earlier stays are kept for
// one old address: those of the last two.
const maxRestores = 2

// maxSpent bounds the list of spent delivery addresses of one VM. Where a VM
// comes and goes faster than quarantines end, the oldest end early.
const maxSpent = 48

// trim ends the oldest quarantines where there are too many.
func (v *vm) trim() {
	for len(v.Spent) > maxSpent {
		oldest := -1
		for i, s := range v.Spent {
			if s.State == SpentQuarantine && !s.Until.IsZero() && (oldest < 0 || s.Until.Before(v.Spent[oldest].Until)) {
				oldest = i
			}
		}
		v.Spent = slices.Delete(slices.Clone(v.Spent), max(oldest, 0), max(oldest, 0)+1)
	}
}

// spendServing turns the delivery addresses of a VM that has left into restores for
// stragglers, and puts the oldest into quarantine where there are too many.
func (c *Core) spendServing(v *vm) {
	v.Spent = append(slices.Clone(v.Spent), v.Serving.spend(SpentRestoring, zeroTime)...)
	count := make(map[netip.Addr]int)
	for i := len(v.Spent) - 1; i >= 0; i-- {
		s := &v.Spent[i]
		if s.State != SpentRestoring {
			continue
		}
		if count[s.Old]++; count[s.Old] > maxRestores {
			s.State, s.Until = SpentQuarantine, c.now.Add(c.cfg.Quarantine)
		}
	}
	v.Serving = nil
}

// orphan takes away what restores addresses that the VM, which starts anew here,
// does not have: nothing it leads to is here. Who may still send to it is not
// known, so it is not free before the end of this stay.
func (c *Core) orphan(v *vm) {
	live := v.Serving.Live()
	v.Spent = slices.Clone(v.Spent)
	for i := range v.Spent {
		if s := &v.Spent[i]; s.State == SpentRestoring && !slices.Contains(live, s.Old) {
			s.State = SpentQuarantine
		}
	}
}

// quarantine ends the delivery addresses for which which is true: nothing is
// installed for them any more, and they are free after a while.
func (c *Core) quarantine(v *vm, which func(Spent) bool) {
	v.Spent = slices.Clone(v.Spent)
	for i := range v.Spent {
		if s := &v.Spent[i]; (s.State != SpentQuarantine || s.Until.IsZero()) && which(*s) {
			s.State, s.Until = SpentQuarantine, c.now.Add(c.cfg.Quarantine)
		}
	}
}

// schedule sets the timer for the earliest end of a quarantine.
func (c *Core) schedule(v *vm) {
	c.account(v)
	var first = zeroTime
	for _, s := range v.Spent {
		if !s.Until.IsZero() && (first.IsZero() || s.Until.Before(first)) {
			first = s.Until
		}
	}
	if first.IsZero() {
		c.timers.stop(&v.spent)
		return
	}
	if v.spent != nil && v.spent.at.Equal(first) && v.spent.pos >= 0 {
		return
	}
	c.timers.set(&v.spent, first, func() { c.do(v, func() { c.expireSpent(v) }) })
}

// expireSpent frees the delivery addresses whose quarantine has ended.
func (c *Core) expireSpent(v *vm) {
	installed := false
	v.Spent = slices.DeleteFunc(slices.Clone(v.Spent), func(s Spent) bool {
		over := !s.Until.IsZero() && !s.Until.After(c.now)
		installed = installed || over && s.State != SpentQuarantine
		return over
	})
	if v.Empty() {
		c.done(v)
		return
	}
	c.keep(v)
	if !installed {
		c.done(v)
		return
	}
	c.apply(v, func(err error) {
		if err != nil {
			c.count("apply_failed")
		}
		c.done(v)
	})
}
