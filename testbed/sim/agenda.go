package sim

import (
	"container/heap"
	"time"
)

// event is something that will happen.
type event struct {
	at  time.Time
	seq uint64
	do  func()
}

// agenda is a heap of events; those of one moment happen in the order in which
// they were entered.
type agenda struct {
	list []event
	seq  uint64
}

func (a *agenda) Len() int { return len(a.list) }
func (a *agenda) Less(i, j int) bool {
	x, y := &a.list[i], &a.list[j]
	return x.at.Before(y.at) || x.at.Equal(y.at) && x.seq < y.seq
}
func (a *agenda) Swap(i, j int) { a.list[i], a.list[j] = a.list[j], a.list[i] }
func (a *agenda) Push(x any)    { a.list = append(a.list, x.(event)) }
func (a *agenda) Pop() any {
	x := a.list[len(a.list)-1]
	a.list[len(a.list)-1] = event{}
	a.list = a.list[:len(a.list)-1]
	return x
}

func (a *agenda) add(at time.Time, do func()) {
	a.seq++
	heap.Push(a, event{at, a.seq, do})
}

func (a *agenda) next() event { return heap.Pop(a).(event) }

// alarm wakes a node when its core has work; a life is one process of the node.
type alarm struct {
	at   time.Time
	life int
}

// set asks for f at a time, unless that or something earlier is asked for. When
// it is time and the life is still the same, f is called.
func (a *alarm) set(w *World, at time.Time, life int, f func()) {
	if at.Before(w.now) {
		at = w.now
	}
	if a.life == life && !a.at.IsZero() && !at.Before(a.at) {
		return
	}
	a.at, a.life = at, life
	w.agenda.add(at, func() {
		if a.life != life || !a.at.Equal(at) {
			return
		}
		a.at = time.Time{}
		f()
	})
}
