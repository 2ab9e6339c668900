package mgmt

import (
	"container/heap"
	"net/netip"
	"time"

	"github.com/dpmip/dpmip/mobility"
)

// volatile is what is known of a VM besides its record, and may be forgotten.
type volatile struct {
	flights map[flightKey]*flight
	kept    map[string]time.Time // peer -> when its state was last confirmed
	rates   map[netip.Addr]measured
	changed map[netip.Addr]time.Time // between routed and translated
	wiser   map[string]time.Time     // peer -> when it first knew a higher epoch, see hearsOut
	pending int                      // Commits of this VM that are not durable yet
	wake    time.Time                // the earliest entry in the heap, zero = none
}

func (c *Core) vol(vm mobility.VMID) *volatile {
	v := c.volatile[vm]
	if v == nil {
		v = &volatile{}
		c.volatile[vm] = v
	}
	return v
}

// wakeAt asks for the VM to be looked at, at t or before.
func (c *Core) wakeAt(vm mobility.VMID, t time.Time) {
	v := c.vol(vm)
	if t.IsZero() || !v.wake.IsZero() && !t.Before(v.wake) {
		return
	}
	v.wake = t
	heap.Push(&c.wakes, wakeup{t, vm})
}

// wake does for a VM what time has brought about.
func (c *Core) wake(w wakeup) {
	vm := w.vm
	if !c.vol(vm).wake.Equal(w.at) {
		return // an earlier one took its place
	}
	c.vol(vm).wake = time.Time{}
	if c.bindings[vm] != nil && !c.now.Before(c.stall) {
		c.expire(vm)
	}
	c.tx.touch(vm)
}

type wakeup struct {
	at time.Time
	vm mobility.VMID
}

// wakes is a heap of moments.
type wakes []wakeup

func (w wakes) Len() int           { return len(w) }
func (w wakes) Less(i, j int) bool { return w[i].at.Before(w[j].at) }
func (w wakes) Swap(i, j int)      { w[i], w[j] = w[j], w[i] }
func (w *wakes) Push(x any)        { *w = append(*w, x.(wakeup)) }
func (w *wakes) Pop() any {
	old := *w
	x := old[len(old)-1]
	*w = old[:len(old)-1]
	return x
}

func (w wakes) first() time.Time {
	if len(w) == 0 {
		return time.Time{}
	}
	return w[0].at
}

func (w *wakes) due(now time.Time) (wakeup, bool) {
	if len(*w) == 0 || w.first().After(now) {
		return wakeup{}, false
	}
	return heap.Pop(w).(wakeup), true
}
