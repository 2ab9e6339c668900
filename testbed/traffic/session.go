package traffic

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dpmip/dpmip/testbed/clock"
	"github.com/dpmip/dpmip/testbed/guest"
)

// stallFloor is what a silence must exceed, beyond the interval, to be written
// down.
const stallFloor = 5 * time.Millisecond

// stall is a silence between two records at one end.
type stall struct{ from, to time.Duration }

// session is one end of a long-lived connection: it sends a request every
// interval, answers the other end's requests, and checks what it reads.
type session struct {
	conn     *net.TCPConn
	id       uint32
	gate     *guest.Gate
	interval time.Duration

	answers  chan uint64
	asked    atomic.Uint64 // requests written
	answered atomic.Uint64 // responses read
	lastAt   atomic.Int64

	mu     sync.Mutex // guards the fields below
	stalls []stall
	err    error
	errAt  time.Duration
}

func newSession(c *net.TCPConn, id uint32, gate *guest.Gate, interval time.Duration) *session {
	return &session{conn: c, id: id, gate: gate, interval: interval, answers: make(chan uint64, 1024)}
}

// write sends requests until quietly is closed, and answers until done is.
func (s *session) write(quietly, done <-chan struct{}) {
	tick := time.NewTicker(s.interval)
	defer tick.Stop()
	ticks := tick.C
	buf := make([]byte, 0, recordLen)
	for {
		select {
		case <-done:
			return
		case <-quietly:
			ticks, quietly = nil, nil
			continue
		case n := <-s.answers:
			buf = appendRecord(buf[:0], response, s.id, n)
		case <-ticks:
			buf = appendRecord(buf[:0], request, s.id, s.asked.Load())
			s.asked.Add(1)
		}
		if _, ok := s.gate.Enter(done); !ok {
			return
		}
		_, err := s.conn.Write(buf)
		s.gate.Leave()
		if err != nil {
			s.fail(err, done)
			return
		}
	}
}

// read takes records until the connection ends.
func (s *session) read(done <-chan struct{}) {
	buf := make([]byte, recordLen)
	order := numbering{conn: s.id}
	last := clock.Now()
	for {
		if _, err := io.ReadFull(s.conn, buf); err != nil {
			s.fail(err, done)
			return
		}
		now := clock.Now()
		if now-last >= s.interval+stallFloor {
			s.mu.Lock()
			s.stalls = append(s.stalls, stall{last, now})
			s.mu.Unlock()
		}
		last = now
		s.lastAt.Store(int64(now))
		kind, number, err := order.check(buf)
		if err != nil {
			s.fail(err, done)
			return
		}
		if kind == response {
			s.answered.Add(1)
			continue
		}
		select {
		case s.answers <- number:
		case <-done:
			return
		}
	}
}

// fail notes the first error, unless the session is being ended anyway.
func (s *session) fail(err error, done <-chan struct{}) {
	select {
	case <-done:
		return
	default:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err, s.errAt = err, clock.Now()
	}
}

// state says how the session stood at a time, and its longest silence within
// the window; one still going on counts up to now.
func (s *session) state(from, to time.Duration) (longest time.Duration, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	open := stall{time.Duration(s.lastAt.Load()), min(to, clock.Now())}
	for _, st := range append(s.stalls[:len(s.stalls):len(s.stalls)], open) {
		if st.to > from && st.from < to {
			longest = max(longest, st.to-st.from)
		}
	}
	if s.err != nil && s.errAt <= to {
		err = s.err
	}
	return longest, err
}
