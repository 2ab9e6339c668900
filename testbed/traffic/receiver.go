package traffic

import (
	"errors"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// receiveTick bounds how long a receiver takes to notice that it shall end.
const receiveTick = 20 * time.Millisecond

// receiver records every arrival of one direction. Its goroutine owns arrivals
// until it has ended; the counters may be read at any time.
type receiver struct {
	fd  int
	id  uint32
	dir Direction

	arrivals []arrival
	count    atomic.Uint64 // arrivals, duplicates included
	lastAt   atomic.Int64  // clock of the last one
	damaged  atomic.Uint64
	refused  atomic.Uint64
}

// run receives until done is closed.
func (r *receiver) run(done <-chan struct{}) {
	in := stamped{fd: r.fd, buf: make([]byte, 65536)}
	for {
		b, at, err := in.read()
		switch {
		case err == nil && len(b) > 0:
			r.take(b, at)
			continue
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR), err == nil:
		default:
			r.refused.Add(1)
		}
		select {
		case <-done:
			return
		default:
		}
	}
}

func (r *receiver) take(b []byte, at time.Duration) {
	seq, sent, ok := read(b, r.id, r.dir)
	if !ok {
		r.damaged.Add(1)
		return
	}
	r.arrivals = append(r.arrivals, arrival{at: at, seq: seq, latency: at - sent})
	r.count.Add(1)
	r.lastAt.Store(int64(at))
}
