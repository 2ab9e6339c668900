package agent

import (
	"maps"
	"slices"
	"time"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
	"github.com/dpmip/dpmip/offload"
)

// Start takes up the work of an earlier process, or starts anew: records are
// what it made durable. The device is told everything again, which changes
// nothing where its rules are still there; switches are set to what the
// records say, and a redirect that is found armed stays armed. With rebooted
// the management node is told of every VM at once, else when it is due.
func (c *Core) Start(now time.Time, records []Record, rebooted bool, out []Effect) []Effect {
	c.now, c.out = now, out
	own := slices.Concat(c.cfg.Ranges, c.cfg.Pools)
	c.emit(Apply{UpTo: offload.NodeStamp(), Rules: offload.Own(own)})
	told := c.restore(records, rebooted)
	for _, v := range told {
		c.do(v, func() { c.takeUp(v) })
		c.resume(v, rebooted)
	}
	c.emit(Adopt{})
	c.sampling()
	for _, m := range c.cfg.Registration.Management {
		c.handle(c.node.Watch(now, m, nil))
	}
	out, c.out = c.out, nil
	return out
}

// restore takes the records in, and gives the VMs that the device is to be told
// of, in a stable order. What another still has there is nobody's: see Adopt.
func (c *Core) restore(records []Record, rebooted bool) (told []*vm) {
	if len(c.vms) == 0 { // a hundred thousand would grow the maps many times
		c.vms = make(map[mobility.VMID]*vm, len(records))
		c.addrs.reserve(len(records))
	}
	var orders []registration.Order
	for i := range records {
		v := c.get(records[i].VM)
		v.Record = records[i].Clone()
		orders = append(orders, v.Orders...)
		if !rebooted && v.waits() {
			c.done(v)
			continue
		}
		c.account(v)
		told = append(told, v)
	}
	c.node.Restore(orders)
	sortVMs(told)
	return told
}

// waits reports whether nothing is left of a VM but delivery addresses in
// quarantine: the device need not be told of it.
func (r *Record) waits() bool {
	return r.Serving == nil && r.Incoming == nil && r.Leaving == nil &&
		!slices.ContainsFunc(r.Spent, func(s Spent) bool { return s.State != SpentQuarantine })
}

// takeUp brings the device to what the record says.
func (c *Core) takeUp(v *vm) {
	if in := v.Incoming; in != nil {
		c.emit(HoldLimit{Stamp: offload.Stamp(v.VM, in.Epoch), Limit: c.cfg.Hold})
	}
	c.apply(v, func(err error) {
		if err != nil {
			c.count("apply_failed")
			v.problem = err.Error()
			c.emit(Note{Level: LevelWarn, VM: v.VM, Text: "rules not all installed after the start", Err: err})
		}
		c.switchAll(v)
	})
}

// switchAll switches a VM's groups after a start.
func (c *Core) switchAll(v *vm) {
	on := make(map[mobility.Epoch]bool)
	if s := v.Serving; s != nil && s.Epoch != 0 {
		on[s.Epoch] = true
	}
	back := make(map[mobility.Epoch]bool)
	for _, s := range v.Spent {
		switch s.State {
		case SpentRestoring:
			on[s.Epoch] = true
		case SpentReturning:
			back[s.Epoch] = true
		}
	}
	for _, e := range epochs(on) {
		c.flip(OpActivate, offload.Stamp(v.VM, e), func(r Result) { c.switched(v, r) })
	}
	for _, e := range epochs(back) {
		c.emit(GiveBack{Stamp: offload.Stamp(v.VM, e)})
	}
	l := v.Leaving
	switch {
	case l == nil:
		c.done(v)
	case l.Armed:
		c.flip(OpArm, offload.Stamp(v.VM, l.Stamp), func(r Result) { c.switched(v, r) })
		c.done(v)
	default: // armed by a process that died before it could note so?
		c.emit(ReadGroup{Stamp: offload.Stamp(v.VM, l.Stamp), Ref: c.await(func(r Result) {
			if r.Err == nil && r.Group.Armed {
				l.Armed = true
				v.figures.armed = r.Group.ArmedAt
				c.keep(v)
			}
			c.done(v)
		})})
	}
}

func (c *Core) switched(v *vm, r Result) {
	if r.Err != nil {
		c.count("switch_failed")
		v.problem = r.Err.Error()
		c.emit(Note{Level: LevelWarn, VM: v.VM, Text: "group not switched on after the start", Err: r.Err})
	}
}

// resume goes on with what the record owes the management node.
func (c *Core) resume(v *vm, rebooted bool) {
	if len(c.draining(v)) > 0 {
		c.watch(v, false)
	}
	s := v.Serving
	switch {
	case s == nil:
	case s.Commit != nil: // not before it delivers again: routers will lead here
		c.do(v, func() {
			c.again(v, 0)
			c.done(v)
		})
	case rebooted || s.Detaching || !s.Registered:
		c.again(v, 0)
	default:
		due := s.Expires.Add(-s.Lifetime.Duration() / 3).Sub(c.now)
		c.again(v, max(due, time.Duration(c.addrs.rand.Int64N(int64(c.cfg.Spread)+1))))
	}
}

func epochs(set map[mobility.Epoch]bool) []mobility.Epoch {
	return slices.Sorted(maps.Keys(set))
}
