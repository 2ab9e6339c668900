package agent

import (
	"net/netip"
	"time"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/mobility"
)

// Sample is the traffic of one address since the sample before.
type Sample struct {
	VM      mobility.VMID
	Addr    netip.Addr
	Packets uint64
	Over    time.Duration
}

// Traffic gives the management node samples of addresses that are not at home
// here: what a host route is worth. Nothing is said of what is idle and was
// before.
type Traffic struct{ Samples []Sample }

func (Traffic) effect() {}

// maxSamples bounds one Traffic.
const maxSamples = 4096

// sampled is what was counted for an address.
type sampled struct {
	old, delivery uint64 // at either address
	at            time.Time
	idle          bool // told so
}

// sampling reads the counters of moved addresses every interval.
func (c *Core) sampling() {
	if c.cfg.TrafficInterval <= 0 {
		return
	}
	c.timers.set(&c.sample, c.now.Add(c.cfg.TrafficInterval), c.sampleNow)
}

// sampleNow asks the device at once for all VMs.
func (c *Core) sampleNow() {
	c.sampling()
	var ids []hwabstraction.RuleID
	for _, v := range c.sorted() {
		for _, d := range c.moved(v) {
			ids = append(ids, hwabstraction.DeliverID(d.Old), hwabstraction.DeliverID(d.D))
		}
	}
	if len(ids) == 0 {
		return
	}
	c.emit(ReadCounters{IDs: ids, Ref: c.await(func(r Result) {
		if r.Err != nil {
			c.count("counters_unread")
			return
		}
		c.tellTraffic(r.Counters)
	})})
}

// moved lists the addresses of a VM that runs here and is not at home, with
// their delivery addresses.
func (c *Core) moved(v *vm) (out []mobility.Delivery) {
	s := v.Serving
	if s == nil || s.Commit != nil || s.Detaching {
		v.samples = nil
		return nil
	}
	for _, d := range s.Deliveries {
		if !c.addrs.home(d.Old) {
			out = append(out, d)
		}
	}
	if len(out) == 0 {
		v.samples = nil
	}
	return out
}

// tellTraffic compares with what was counted before.
func (c *Core) tellTraffic(counters map[hwabstraction.RuleID]hwabstraction.Counter) {
	var list []Sample
	for _, v := range c.sorted() {
		for _, d := range c.moved(v) {
			now := sampled{old: counters[hwabstraction.DeliverID(d.Old)].Packets, delivery: counters[hwabstraction.DeliverID(d.D)].Packets, at: c.now}
			if s, ok := v.sample(d.Old, now); ok {
				list = append(list, s)
			}
		}
	}
	for len(list) > 0 {
		n := min(len(list), maxSamples)
		c.emit(Traffic{Samples: list[:n:n]})
		list = list[n:]
	}
}

// sample gives what is to be told of an address; false = nothing. Devices differ
// in whether they count what is restored at both addresses or at the delivery
// address only: the greater of the two counts is right for either, as packets
// come one way or the other.
func (v *vm) sample(a netip.Addr, now sampled) (Sample, bool) {
	if v.samples == nil {
		v.samples = make(map[netip.Addr]sampled)
	}
	before, known := v.samples[a]
	if !known || now.old < before.old || now.delivery < before.delivery { // the rules are new
		v.samples[a] = now
		return Sample{}, false
	}
	s := Sample{VM: v.VM, Addr: a, Packets: max(now.old-before.old, now.delivery-before.delivery), Over: now.at.Sub(before.at)}
	now.idle = s.Packets == 0
	v.samples[a] = now
	return s, s.Over > 0 && !(before.idle && now.idle)
}
