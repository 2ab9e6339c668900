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
	Role              string // source, destination
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
	// Placement is the lowest of the rules that the figures are about.
	Placement hwabstraction.Placement
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
	switch l, s := v.Leaving, v.Serving; {
	case l != nil && l.Done:
		c.reportLeaving(v, l)
	case s != nil && len(s.Deliveries) > 0:
		c.reportServing(v, s)
	}
}

// reportLeaving tells of the move that the redirect was installed for.
func (c *Core) reportLeaving(v *vm, l *Leaving) {
	f := Figures{Role: "source", Flows: v.figures.flows, ArmTook: v.figures.armTook, Armed: v.figures.armed, Drained: v.figures.drained}
	var ids []hwabstraction.RuleID
	for _, p := range l.Pairs {
		ids = append(ids, hwabstraction.RedirectID(p.Old))
	}
	c.reportGroup(v, l.Stamp, ids, f)
}

// reportServing tells of the move that brought the VM here.
func (c *Core) reportServing(v *vm, s *Serving) {
	var ids []hwabstraction.RuleID
	for _, d := range s.Deliveries {
		ids = append(ids, hwabstraction.DeliverID(d.D))
	}
	c.reportGroup(v, s.Epoch, ids, Figures{Role: "destination"})
}

// reportGroup asks for both readings at once: what follows may remove the
// rules.
func (c *Core) reportGroup(v *vm, epoch mobility.Epoch, ids []hwabstraction.RuleID, f Figures) {
	c.emit(ReadCounters{IDs: ids, Ref: c.await(func(r Result) {
		f.Placement = r.Placement
		if f.Role == "destination" {
			return
		}
		for _, n := range r.Counters {
			f.RedirectedPackets += n.Packets
			f.RedirectedBytes += n.Bytes
		}
	})})
	c.emit(ReadGroup{Stamp: offload.Stamp(v.VM, epoch), Ref: c.await(func(r Result) {
		if r.Err != nil {
			return
		}
		v.figures.heldNow = r.Group.HeldNow > 0
		f.FirstHit, f.Held, f.HoldDrops, f.MaxHold = r.Group.FirstHit, r.Group.Held, r.Group.HoldDrops, r.Group.MaxHold
		if f.Armed.IsZero() {
			f.Armed = r.Group.ArmedAt
		}
		c.reportChanged(v, epoch, f)
	})})
}

func (c *Core) reportChanged(v *vm, epoch mobility.Epoch, f Figures) {
	if last, ok := v.reported[epoch]; ok {
		// The counters of addresses that have drained are gone, what they
		// counted is not.
		f.RedirectedPackets = max(f.RedirectedPackets, last.RedirectedPackets)
		f.RedirectedBytes = max(f.RedirectedBytes, last.RedirectedBytes)
		if last.same(&f) {
			return
		}
	}
	v.reported = map[mobility.Epoch]Figures{epoch: f}
	c.emit(Report{VM: v.VM, Epoch: epoch, Figures: f})
}

func (f *Figures) same(o *Figures) bool {
	return f.RedirectedPackets == o.RedirectedPackets && f.Held == o.Held && f.HoldDrops == o.HoldDrops &&
		f.MaxHold == o.MaxHold && f.Drained.Equal(o.Drained) && f.FirstHit.Equal(o.FirstHit) && f.Armed.Equal(o.Armed) && f.Role == o.Role && f.Placement == o.Placement
}
