package agent

import (
	"net/netip"
	"slices"
	"time"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
)

// drain follows the traffic of one old address.
type drain struct {
	packets uint64
	since   time.Time // of the last change of packets
	next    time.Time // not asked before
	backoff time.Duration
}

// draining gives the old addresses that may drain here, and the counters that
// tell whether they are in use: at an anchor its redirects, at the serving
// hypervisor the deliveries of old addresses: at their home, by a host route or
// from a VM beside it they come past every redirect.
func (c *Core) draining(v *vm) map[netip.Addr][]hwabstraction.RuleID {
	out := make(map[netip.Addr][]hwabstraction.RuleID)
	if l := v.Leaving; l != nil && l.Done {
		for _, p := range l.Pairs {
			out[p.Old] = []hwabstraction.RuleID{hwabstraction.RedirectID(p.Old)}
		}
	}
	if s := v.Serving; s != nil && s.Commit == nil && s.Registered && !s.Detaching {
		for _, a := range s.Olds {
			if !s.Guarded || c.addrs.home(a) {
				out[a] = []hwabstraction.RuleID{hwabstraction.DeliverID(a)}
			}
		}
		for _, d := range s.Deliveries {
			if ids := out[d.Old]; ids != nil {
				out[d.Old] = append(ids, hwabstraction.DeliverID(d.D))
			}
		}
	}
	return out
}

// watch starts to follow a VM's counters, for drain and report.
func (c *Core) watch(v *vm, report bool) {
	if report {
		c.report(v)
	}
	c.timers.set(&v.poll, c.now.Add(c.cfg.DrainPoll), func() { c.pollNow(v) })
}

// pollNow reads the counters and asks "may I" for what has become quiet.
func (c *Core) pollNow(v *vm) {
	rules := c.draining(v)
	holding := v.Serving != nil && v.figures.heldNow
	if len(rules) == 0 && !holding {
		return
	}
	c.watch(v, true)
	if len(rules) == 0 {
		return
	}
	var ids []hwabstraction.RuleID
	for _, old := range sortedAddrs(rules) {
		ids = append(ids, rules[old]...)
	}
	c.emit(ReadCounters{IDs: ids, Ref: c.await(func(r Result) {
		if r.Err != nil {
			c.count("counters_unread")
			return
		}
		c.judge(v, rules, r.Counters)
	})})
}

func sortedAddrs(m map[netip.Addr][]hwabstraction.RuleID) []netip.Addr {
	out := make([]netip.Addr, 0, len(m))
	for a := range m {
		out = append(out, a)
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}

// judge finds the addresses that have been quiet long enough, or whose
// lifetime has run out.
func (c *Core) judge(v *vm, rules map[netip.Addr][]hwabstraction.RuleID, counters map[hwabstraction.RuleID]hwabstraction.Counter) {
	if v.drains == nil {
		v.drains = make(map[netip.Addr]*drain)
	}
	expired := v.Leaving != nil && !v.Leaving.Expires.IsZero() && !c.now.Before(v.Leaving.Expires)
	var quiet []netip.Addr
	for _, old := range sortedAddrs(rules) {
		var packets uint64
		for _, id := range rules[old] {
			packets += counters[id].Packets
		}
		d := v.drains[old]
		if d == nil {
			d = &drain{packets: packets, since: c.now, backoff: c.cfg.DrainRetry}
			v.drains[old] = d
		}
		if d.packets != packets {
			d.packets, d.since = packets, c.now
		}
		if (expired || c.now.Sub(d.since) >= c.cfg.DrainQuiet) && !c.now.Before(d.next) {
			quiet = append(quiet, old)
		}
	}
	if len(quiet) > 0 && v.token == 0 {
		c.askDrain(v, quiet)
	}
}

// askDrain is row 9.
func (c *Core) askDrain(v *vm, quiet []netip.Addr) {
	v6, v4 := mobility.SplitFamilies(quiet)
	epoch := v.Epoch
	if v.Leaving != nil {
		epoch = v.Leaving.Epoch
	}
	v.kind, v.asking = submitDrain, quiet
	c.send(v, registration.Request{VM: v.VM, Handoff: mobility.HandoffUnknown, Epoch: epoch, Slots: append(v6, v4...)})
}

// stopDraining ends the open question and forgets what was counted.
func (c *Core) stopDraining(v *vm) {
	if v.kind == submitDrain {
		c.drop(v)
	}
	v.drains = nil
}

// dropDrained forgets the counts of addresses that are not redirected any
// more; a newer epoch makes an open question void.
func (c *Core) dropDrained(v *vm) {
	if v.kind == submitDrain {
		c.drop(v)
	}
	for old := range v.drains {
		if v.Leaving == nil || !v.Leaving.hasPair(old) {
			delete(v.drains, old)
		}
	}
}

// mayI takes the answer to row 9: on status 0 the redirects go.
func (c *Core) mayI(v *vm, r registration.Reply, asked []netip.Addr) {
	if !r.Status.Accepted() {
		for _, old := range asked {
			if d := v.drains[old]; d != nil {
				d.next = c.now.Add(c.jitter(d.backoff))
				d.backoff = min(2*d.backoff, 16*c.cfg.DrainRetry)
			}
		}
		c.done(v)
		return
	}
	l := v.Leaving
	if l == nil || !l.Done { // the serving hypervisor: the management node confirms with row 10
		for _, old := range asked {
			if d := v.drains[old]; d != nil {
				d.next = c.now.Add(d.backoff)
			}
		}
		c.done(v)
		return
	}
	rest := slices.DeleteFunc(slices.Clone(l.Pairs), func(p mobility.Pair) bool { return slices.Contains(asked, p.Old) })
	if len(rest) == 0 {
		v.figures.drained = c.now
	}
	c.report(v) // while the redirects and their counters are still there
	if l.Pairs = rest; len(rest) == 0 {
		v.Leaving = nil
		c.timers.stop(&v.poll)
	}
	for _, old := range asked {
		delete(v.drains, old)
	}
	c.quarantine(v, func(s Spent) bool { return slices.Contains(asked, s.Old) })
	c.remove(v)
}

// remove carries out what has ended, and ends the job.
func (c *Core) remove(v *vm) {
	if v.Empty() {
		c.done(v)
		return
	}
	c.keep(v)
	c.apply(v, func(err error) {
		if err != nil {
			c.count("apply_failed")
			v.problem = err.Error()
		}
		c.done(v)
	})
}

// drained is row 10: nothing is sent here any more for these old addresses.
// Of a current slot only the delivery addresses end.
func (c *Core) drained(v *vm, a registration.Ask) {
	r, s := &a.Request, v.Serving
	switch {
	case s == nil || s.Epoch == 0:
		c.refuse(v, a, mobility.Refuse(mobility.StatusNotVMForThisNode, "%s does not run here", v.VM))
		return
	case r.Epoch != 0 && r.Epoch < v.Epoch:
		c.refuse(v, a, mobility.Refuse(mobility.StatusProhibited, "%s: epoch %d, known is %d", v.VM, r.Epoch, v.Epoch))
		return
	}
	over := oldsOf(r.Pairs)
	var gone []Spent
	for _, sp := range s.spend(SpentQuarantine, c.now.Add(c.cfg.Quarantine)) {
		if slices.Contains(over, sp.Old) {
			gone = append(gone, sp)
		}
	}
	s.Deliveries = slices.DeleteFunc(slices.Clone(s.Deliveries), func(d mobility.Delivery) bool { return slices.Contains(over, d.Old) })
	s.Olds = slices.DeleteFunc(slices.Clone(s.Olds), func(o netip.Addr) bool { return slices.Contains(over, o) })
	c.quarantine(v, func(sp Spent) bool { return slices.Contains(over, sp.Old) })
	v.Spent = append(slices.Clone(v.Spent), gone...)
	for _, old := range over {
		delete(v.drains, old)
	}
	c.finish(v, a)
}
