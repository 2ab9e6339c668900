package registration

import (
	"container/heap"
	"time"
)

// timer is one moment at which the Node has work. It belongs to at most one
// heap; idle when index < 0.
type timer struct {
	at    time.Time
	order uint64 // breaks ties, so that a run can be replayed
	index int
	fire  func(now time.Time, out []Effect) []Effect
}

func newTimer(fire func(time.Time, []Effect) []Effect) *timer {
	return &timer{index: -1, fire: fire}
}

// timers is a heap of timers, earliest first.
type timers struct {
	heap  timerHeap
	count uint64
}

// set (re)arms t.
func (ts *timers) set(t *timer, at time.Time) {
	ts.count++
	t.at, t.order = at, ts.count
	if t.index >= 0 {
		heap.Fix(&ts.heap, t.index)
		return
	}
	heap.Push(&ts.heap, t)
}

// stop disarms t; stopping an idle or nil timer does nothing.
func (ts *timers) stop(t *timer) {
	if t != nil && t.index >= 0 {
		heap.Remove(&ts.heap, t.index)
	}
}

// due takes the earliest timer that is not after now, or nil.
func (ts *timers) due(now time.Time) *timer {
	if len(ts.heap) == 0 || ts.heap[0].at.After(now) {
		return nil
	}
	return heap.Pop(&ts.heap).(*timer)
}

func (ts *timers) next() (time.Time, bool) {
	if len(ts.heap) == 0 {
		return time.Time{}, false
	}
	return ts.heap[0].at, true
}

type timerHeap []*timer

func (h timerHeap) Len() int { return len(h) }
func (h timerHeap) Less(i, j int) bool {
	if h[i].at.Equal(h[j].at) {
		return h[i].order < h[j].order
	}
	return h[i].at.Before(h[j].at)
}
func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *timerHeap) Push(x any) {
	t := x.(*timer)
	t.index = len(*h)
	*h = append(*h, t)
}
func (h *timerHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	t.index = -1
	return t
}
