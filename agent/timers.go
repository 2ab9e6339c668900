package agent

import (
	"container/heap"
	"time"
)

// timer fires once, unless it is stopped.
type timer struct {
	at   time.Time
	seq  uint64 // ties: the first set fires first
	pos  int
	fire func()
}

// timers is a heap of them.
type timers struct {
	list timerHeap
	seq  uint64
}

// set stops what *t was and makes it fire at a time.
func (s *timers) set(t **timer, at time.Time, fire func()) {
	s.stop(t)
	s.seq++
	n := &timer{at: at, seq: s.seq, fire: fire}
	*t = n
	heap.Push(&s.list, n)
}

// stop ends *t if it has not fired.
func (s *timers) stop(t **timer) {
	if *t != nil && (*t).pos >= 0 {
		heap.Remove(&s.list, (*t).pos)
	}
	*t = nil
}

// due takes the first timer that is not after now.
func (s *timers) due(now time.Time) *timer {
	if len(s.list) == 0 || s.list[0].at.After(now) {
		return nil
	}
	return heap.Pop(&s.list).(*timer)
}

func (s *timers) next() (time.Time, bool) {
	if len(s.list) == 0 {
		return time.Time{}, false
	}
	return s.list[0].at, true
}

type timerHeap []*timer

func (h timerHeap) Len() int { return len(h) }
func (h timerHeap) Less(i, j int) bool {
	return h[i].at.Before(h[j].at) || h[i].at.Equal(h[j].at) && h[i].seq < h[j].seq
}
func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i, j
}
func (h *timerHeap) Push(x any) {
	t := x.(*timer)
	t.pos = len(*h)
	*h = append(*h, t)
}
func (h *timerHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	t.pos = -1
	return t
}
