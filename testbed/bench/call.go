package bench

import (
	"runtime"
	"time"
)

// cost is what one call of a function costs.
type cost struct {
	ns     float64
	allocs float64
}

// callTime is for how long a function is called again and again.
const callTime = 50 * time.Millisecond

// perCall calls f for some time and gives the mean cost of a call.
func perCall(f func() error) (cost, error) {
	n, took, allocs := 1, time.Duration(0), uint64(0)
	for {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		start := time.Now()
		for range n {
			if err := f(); err != nil {
				return cost{}, err
			}
		}
		took = time.Since(start)
		runtime.ReadMemStats(&after)
		allocs = after.Mallocs - before.Mallocs
		if took >= callTime {
			// Below one in a hundred calls it is the runtime's own.
			return cost{float64(took) / float64(n), float64(allocs*100/uint64(n)) / 100}, nil
		}
		n *= max(2, min(100, int(callTime/max(took, 1))))
	}
}
