package sim

import (
	"slices"
	"time"
)

// Shrink takes away whatever the failure does not need: operations, noise,
// skew, guests, and then what is odd about the rest. broken tells whether a
// schedule still fails, and in the same way: another failure would be shrunk
// instead of the one that was found. It is asked at most budget times.
func Shrink(s *Schedule, budget int, broken func(*Schedule) bool) *Schedule {
	k := shrinker{best: s.Clone(), budget: budget, broken: broken}
	for before := -1; before != k.found && k.budget > 0; {
		before = k.found
		k.drop()
		k.simplify()
	}
	return k.best
}

type shrinker struct {
	best   *Schedule
	budget int
	found  int // smaller ones so far
	broken func(*Schedule) bool
}

// try keeps the changed schedule if it still fails.
func (k *shrinker) try(change func(*Schedule)) bool {
	if k.budget <= 0 {
		return false
	}
	c := k.best.Clone()
	change(c)
	if c.String() == k.best.String() {
		return false
	}
	k.budget--
	if c.check() != nil || !k.broken(c) {
		return false
	}
	k.best = c
	k.found++
	return true
}

// drop removes operations: halves first, then one by one from the end.
func (k *shrinker) drop() {
	for size := len(k.best.Ops) / 2; size > 0; size /= 2 {
		for i := len(k.best.Ops) - size; i >= 0; i -= size {
			if i+size <= len(k.best.Ops) {
				k.try(func(s *Schedule) { s.Ops = slices.Delete(s.Ops, i, i+size) })
			}
		}
	}
}

func (k *shrinker) simplify() {
	k.try(func(s *Schedule) { s.Watched = false })
	k.try(func(s *Schedule) { s.Noise = Noise{} })
	k.try(func(s *Schedule) { s.Noise.Loss = 0 })
	k.try(func(s *Schedule) { s.Noise.Repeat = 0 })
	k.try(func(s *Schedule) { s.Noise.Slow = 0 })
	for _, name := range sortedKeys(k.best.Skew) {
		k.try(func(s *Schedule) { delete(s.Skew, name) })
	}
	for i := len(k.best.Guests) - 1; i >= 0; i-- {
		k.try(func(s *Schedule) { s.Guests = slices.Delete(s.Guests, i, i+1) })
	}
	for i := range k.best.Guests {
		k.try(func(s *Schedule) { s.Guests[i].V6, s.Guests[i].V4 = true, false })
	}
	for i := range k.best.Ops {
		k.try(func(s *Schedule) { s.Ops[i].At = s.Ops[i].At.Round(time.Second) })
	}
}
