package router

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestPaceFollowsAtOnceAndSparesTheLoop: a job of 10 ms in a storm of changes.
func TestPaceFollowsAtOnceAndSparesTheLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPace()
		defer p.Stop()
		start := time.Now()
		var done []time.Duration
		work := func() {
			done = append(done, time.Since(start))
			time.Sleep(10 * time.Millisecond) // what the job costs, on the bubble's clock
		}
		storm := time.NewTicker(time.Millisecond)
		defer storm.Stop()
		for p.Ask(time.Now()); len(done) < 4; {
			select {
			case <-storm.C:
				p.Ask(time.Now())
			case <-p.Due():
				p.Do(work)
			}
		}
		if done[0] != 0 {
			t.Errorf("the first was done after %v, want at once", done[0])
		}
		for i := 1; i < len(done); i++ {
			if gap := done[i] - done[i-1]; gap < 100*time.Millisecond || gap > 102*time.Millisecond {
				t.Errorf("gap %d is %v, want 100 ms", i, gap)
			}
		}
		time.Sleep(time.Second)
		p.Ask(time.Now())
		at := time.Now()
		if <-p.Due(); time.Since(at) != 0 {
			t.Errorf("after a quiet time: %v, want at once", time.Since(at))
		}
	})
}
