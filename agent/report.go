package agent

import (
	"time"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/offload"
)

// Figures are what a hypervisor counted for one move, for the receipt. Zero
// times mean that it has not happened.
type Figures struct {
	Role              string // source, anchor, destination
	RedirectedPackets uint64
	RedirectedBytes   uint64
	Armed             time.Time
	FirstHit          time.Time
	Drained           time.Time
	Held              uint64
	HoldDrops         uint64
	MaxHold           time.Duration
	Flows             uint64
	ArmTook           time.Duration
	// Rules are those that the figures are about; whoever reports adds their
	// lowest placement.
	Rules []hwabstraction.RuleID
}

// figures is what the Core itself notes for the next report.
type figures struct {
	flows   uint64
	armed   time.Time
	armTook time.Duration
	drained time.Time
	heldNow bool
}

// armed notes when and how fast a redirect was armed.
func (v *vm) armed(r Result) { v.figures.armed, v.figures.armTook = r.At, r.Took }

// report reads what the device counted and passes it on where it has changed.
func (c *Core) report(v *vm) {
	f := Figures{Flows: v.figures.flows, ArmTook: v.figures.armTook, Armed: v.figures.armed, Drained: v.figures.drained}
	var epoch, stamp mobility.Epoch
	switch l, s := v.Leaving, v.Serving; {
	case l != nil && l.Done:
		f.Role, epoch, stamp = "source", l.Stamp, l.Stamp
		for _, p := range l.Pairs {
			f.Rules = append(f.Rules, hwabstraction.RedirectID(p.Old))
		}
		if l.Epoch != l.Stamp {
			f.Role = "anchor"
		}
	case s != nil && len(s.Deliveries) > 0:
		f.Role, epoch, stamp = "destination", s.Epoch, s.Epoch
		for _, d := range s.Deliveries {
			f.Rules = append(f.Rules, hwabstraction.DeliverID(d.D))
		}
		f.Flows, f.ArmTook, f.Armed, f.Drained = 0, 0, zeroTime, zeroTime
	default:
		return
	}
	c.emit(ReadGroup{Stamp: offload.Stamp(v.VM, stamp), Ref: c.await(func(r Result) {
		if r.Err != nil {
			return
		}
		v.figures.heldNow = r.Group.HeldNow > 0
		f.FirstHit, f.Held, f.HoldDrops, f.MaxHold = r.Group.FirstHit, r.Group.Held, r.Group.HoldDrops, r.Group.MaxHold
		if f.Armed.IsZero() {
			f.Armed = r.Group.ArmedAt
		}
		c.reportCounters(v, epoch, f)
	})})
}

func (c *Core) reportCounters(v *vm, epoch mobility.Epoch, f Figures) {
	if f.Role == "destination" {
		c.reportChanged(v, epoch, f)
		return
	}
	c.emit(ReadCounters{IDs: f.Rules, Ref: c.await(func(r Result) {
		for _, n := range r.Counters {
			f.RedirectedPackets += n.Packets
			f.RedirectedBytes += n.Bytes
		}
		c.reportChanged(v, epoch, f)
	})})
}

func (c *Core) reportChanged(v *vm, epoch mobility.Epoch, f Figures) {
	if last, ok := v.reported[epoch]; ok && last.same(&f) {
		return
	}
	v.reported = map[mobility.Epoch]Figures{epoch: f}
	c.emit(Report{VM: v.VM, Epoch: epoch, Figures: f})
}

func (f *Figures) same(o *Figures) bool {
	return f.RedirectedPackets == o.RedirectedPackets && f.Held == o.Held && f.HoldDrops == o.HoldDrops &&
		f.MaxHold == o.MaxHold && f.Drained.Equal(o.Drained) && f.FirstHit.Equal(o.FirstHit) && f.Armed.Equal(o.Armed) && f.Role == o.Role
}
