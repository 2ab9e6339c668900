package software

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/hwabstraction"
)

// group is the process's handle of one element of the groups map.
type group struct {
	at    uint32
	slot  *instSlot
	refs  int // rules; guarded by Device.apply
	holds int // holding deliveries among them
}

// find returns the group of a stamp, with the device open until done is called.
func (d *Device) find(s hwabstraction.Stamp) (*group, func(), error) {
	d.mu.RLock()
	if d.closed {
		d.mu.RUnlock()
		return nil, nil, hwabstraction.ErrClosed
	}
	g := d.index[s]
	if g == nil {
		d.mu.RUnlock()
		return nil, nil, fmt.Errorf("%w: %s", hwabstraction.ErrNoGroup, s)
	}
	return g, d.mu.RUnlock, nil
}

// ensure returns the group of a stamp, made if need be. Caller holds apply.
func (d *Device) ensure(s hwabstraction.Stamp) (*group, error) {
	if g := d.index[s]; g != nil {
		return g, nil
	}
	at, ok := d.insts.take()
	if !ok {
		return nil, fmt.Errorf("%w: groups", hwabstraction.ErrTableFull)
	}
	slot := &d.tables.groups.at[at]
	atomic.StoreUint32(&slot.State, 0)
	d.serial++
	*slot = instSlot{
		Owner: s.Owner, Epoch: s.Epoch, Serial: d.serial,
	}
	slot.limit(d.limits[s], d.cfg.Hold)
	delete(d.limits, s)
	atomic.StoreUint32(&slot.Used, instUsed)
	g := &group{at: at, slot: slot}
	d.mu.Lock()
	d.index[s] = g
	d.mu.Unlock()
	return g, nil
}

// unref lets go of a group; without rules it ceases to be. Caller holds apply.
func (d *Device) unref(g *group) {
	if g.refs--; g.refs > 0 {
		return
	}
	d.discard(g)
}

func (d *Device) discard(g *group) {
	s := g.slot.stamp()
	if g.slot.HoldIfindex != 0 {
		d.removeHold(g)
	}
	if g.slot.Flows > 0 {
		d.dropFlows(g.slot.Serial)
	}
	d.mu.Lock()
	delete(d.index, s)
	d.mu.Unlock()
	atomic.StoreUint32(&g.slot.State, 0)
	atomic.StoreUint32(&g.slot.Used, instFree)
	d.insts.give(g.at)
}

// monotonic is the clock of bpf_ktime_get_ns.
func monotonic() uint64 {
	var t unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	return uint64(t.Nano())
}

// wall is a monotonic time of the programs by today's clock; 0 = never.
func wall(ns uint64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Now().Add(-time.Duration(monotonic() - ns)).Round(0)
}

// wall is a time of the group by the clock as it was when it was armed, so
// that it reads the same for ever.
func (g *instSlot) wall(ns uint64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(ns+g.Wall))
}

// Arm implements hwabstraction.Device: one store into the groups map.
func (d *Device) Arm(s hwabstraction.Stamp) error {
	g, done, err := d.find(s)
	if err != nil {
		return err
	}
	defer done()
	if g.slot.state()&instArmed == 0 {
		atomic.StoreUint64(&g.slot.FirstHit, 0)
		now := monotonic()
		atomic.StoreUint64(&g.slot.Wall, uint64(time.Now().UnixNano())-now)
		atomic.StoreUint64(&g.slot.ArmedAt, now)
		g.slot.set(instArmed)
	}
	return nil
}

// Disarm implements hwabstraction.Device.
func (d *Device) Disarm(s hwabstraction.Stamp) error {
	g, done, err := d.find(s)
	if err != nil {
		return err
	}
	defer done()
	g.slot.unset(instArmed)
	return nil
}

// Activate implements hwabstraction.Device. A group that was given back cannot
// be activated: ErrStale.
func (d *Device) Activate(s hwabstraction.Stamp) error {
	g, done, err := d.find(s)
	if err != nil {
		return err
	}
	defer done()
	st := g.slot.state()
	switch {
	case st&instReturning != 0:
		return fmt.Errorf("%w: %s was given back", hwabstraction.ErrStale, s)
	case st&instActive != 0:
		return nil
	}
	atomic.StoreUint64(&g.slot.ReleasedAt, monotonic())
	g.slot.set(instActive)
	if st&instHold != 0 {
		d.startRelease(g)
	}
	return nil
}

// GiveBack implements hwabstraction.Device. It waits until what was held has
// left, or ctx ends; the release goes on either way.
func (d *Device) GiveBack(ctx context.Context, s hwabstraction.Stamp) error {
	d.apply.Lock()
	g, done, err := d.find(s)
	if err != nil {
		d.apply.Unlock()
		return err
	}
	st := g.slot.state()
	if st&instActive != 0 { // nothing is held
		done()
		d.apply.Unlock()
		return nil
	}
	if st&instReturning == 0 {
		err = d.routeBack(g)
	}
	var left <-chan struct{}
	if err == nil {
		atomic.StoreUint64(&g.slot.ReleasedAt, monotonic())
		g.slot.set(instReturning)
		if st&instHold != 0 {
			left = d.startRelease(g)
		}
	}
	done()
	d.apply.Unlock()
	if err != nil || left == nil {
		return err
	}
	select {
	case <-left:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// SetHoldLimit implements hwabstraction.Device.
func (d *Device) SetHoldLimit(s hwabstraction.Stamp, l hwabstraction.HoldLimit) error {
	if l.Packets < 0 || l.Bytes < 0 || l.Time < 0 {
		return fmt.Errorf("%w: negative hold limit", hwabstraction.ErrInvalidRule)
	}
	d.apply.Lock()
	defer d.apply.Unlock()
	if d.isClosed() {
		return hwabstraction.ErrClosed
	}
	if g := d.index[s]; g != nil {
		g.slot.limit(l, d.cfg.Hold)
		return nil
	}
	d.limits[s] = l
	return nil
}

// limit bounds the group's hold; zero fields take the defaults.
func (g *instSlot) limit(l, otherwise hwabstraction.HoldLimit) {
	setDefault(&l.Packets, otherwise.Packets)
	setDefault(&l.Bytes, otherwise.Bytes)
	setDefault(&l.Time, otherwise.Time)
	g.LimitPackets, g.LimitBytes, g.LimitTime = uint32(l.Packets), uint32(l.Bytes), uint64(l.Time)
}

func (d *Device) isClosed() bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.closed
}

// Group implements hwabstraction.Device.
func (d *Device) Group(s hwabstraction.Stamp) (hwabstraction.GroupStatus, error) {
	g, done, err := d.find(s)
	if err != nil {
		return hwabstraction.GroupStatus{}, err
	}
	defer done()
	i := g.slot
	st := i.state()
	status := hwabstraction.GroupStatus{
		Stamp: s, Armed: st&instArmed != 0, Active: st&instActive != 0, Returning: st&instReturning != 0,
		ArmedAt: i.wall(i.ArmedAt), FirstHit: i.wall(i.FirstHit),
		Held: i.Held, HoldDrops: i.HoldDrops, MaxHold: holdTime(i),
	}
	if st&instHold != 0 {
		q, err := d.queue(i.HoldIfindex)
		if err != nil {
			return status, err
		}
		status.HeldNow = uint64(q.Qlen)
	}
	return status, nil
}

// holdTime is how long the first packet has waited.
func holdTime(i *instSlot) time.Duration {
	if i.FirstHeld == 0 {
		return 0
	}
	end := i.ReleasedAt
	if end == 0 {
		end = monotonic()
	}
	return time.Duration(max(end, i.FirstHeld) - i.FirstHeld)
}
