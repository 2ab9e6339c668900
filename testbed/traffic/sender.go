package traffic

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/testbed/clock"
	"github.com/dpmip/dpmip/testbed/guest"
)

// Pacing. A sender wakes at most every quantum and sends what is due; if it is
// more than maxLag behind, it gives the time up rather than sending a burst.
const (
	quantum = 400 * time.Microsecond
	maxLag  = 5 * time.Millisecond
)

// sender sends the numbers of one direction. Its goroutine owns slips until it
// has ended.
type sender struct {
	fd       int
	id       uint32
	dir      Direction
	interval time.Duration
	size     int
	gate     *guest.Gate

	next    atomic.Uint64 // the number that comes next
	refused atomic.Uint64
	slips   []slip
}

// run sends until done is closed.
func (s *sender) run(done <-chan struct{}) {
	buf := make([]byte, s.size)
	due := clock.Now()
	for {
		select {
		case <-done:
			return
		default:
		}
		if now := clock.Now(); due > now {
			clock.SleepUntil(max(due, now+quantum))
		}
		waited, ok := s.gate.Enter(done)
		if !ok {
			return
		}
		due += waited
		due = s.burst(buf, due)
		s.gate.Leave()
	}
}

// burst sends everything due by now and says when the next is.
func (s *sender) burst(buf []byte, due time.Duration) time.Duration {
	now := clock.Now()
	if late := now - due; late > maxLag {
		s.slips = append(s.slips, slip{s.next.Load(), late})
		due = now
	}
	for due <= now {
		seq := s.next.Load()
		fill(buf, s.id, s.dir, seq, clock.Now())
		if _, err := unix.Write(s.fd, buf); err != nil {
			// A pending ICMP error; nothing has been sent, the number stays.
			s.refused.Add(1)
			return due + s.interval
		}
		s.next.Store(seq + 1)
		due += s.interval
	}
	return due
}
