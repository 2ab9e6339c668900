package traffic

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/testbed/clock"
)

// Stop protocol of a stream: it ends when nothing has arrived for quiet after
// the senders stopped, or after drainLimit.
const (
	quiet      = 150 * time.Millisecond
	drainLimit = 3 * time.Second
)

// StreamConfig describes one stream: one UDP five-tuple with numbered datagrams
// in both directions.
type StreamConfig struct {
	ID   uint32
	A, B Endpoint
	PPS  int // datagrams per second, each way; 1..1 000 000
	Size int // payload in bytes; 0 = 64, above the MTU it is fragmented
}

// Stream is a running or stopped stream.
type Stream struct {
	cfg  StreamConfig
	fds  [2]int
	send [2]*sender
	recv [2]*receiver

	sending, receiving  sync.WaitGroup
	stopSend, stopRecv  chan struct{}
	stopOnce, startOnce sync.Once
	stopped             chan struct{}
}

// Mark is a position in a stream: the numbers not yet sent.
type Mark struct {
	next [2]uint64
	at   time.Duration
}

// At is when the mark was set.
func (m Mark) At() time.Duration { return m.at }

// StreamReport is what both directions came to.
type StreamReport struct{ AToB, BToA Flow }

// Total joins both directions.
func (r StreamReport) Total() Flow { return r.AToB.Add(r.BToA) }

// OpenStream makes the sockets. Call Start, then Stop exactly when done.
func OpenStream(cfg StreamConfig) (*Stream, error) {
	widen()
	if cfg.Size == 0 {
		cfg.Size = 64
	}
	if cfg.PPS < 1 || cfg.PPS > 1e6 || cfg.Size < headerLen || cfg.Size > 65000 {
		return nil, fmt.Errorf("traffic: stream %d: %d pps of %d bytes: want 1..1000000 of %d..65000", cfg.ID, cfg.PPS, cfg.Size, headerLen)
	}
	s := &Stream{cfg: cfg, stopSend: make(chan struct{}), stopRecv: make(chan struct{}), stopped: make(chan struct{})}
	var err error
	if s.fds[0], err = udpSocket(cfg.A.NS, cfg.A.Addr, cfg.B.Addr); err != nil {
		return nil, err
	}
	if s.fds[1], err = udpSocket(cfg.B.NS, cfg.B.Addr, cfg.A.Addr); err != nil {
		return nil, errors.Join(err, unix.Close(s.fds[0]))
	}
	interval := time.Second / time.Duration(cfg.PPS)
	for i, e := range []Endpoint{cfg.A, cfg.B} {
		out, in := AToB, BToA
		if i == 1 {
			out, in = in, out
		}
		s.send[i] = &sender{fd: s.fds[i], id: cfg.ID, dir: out, interval: interval, size: cfg.Size, gate: e.Gate}
		s.recv[i] = &receiver{fd: s.fds[i], id: cfg.ID, dir: in}
	}
	return s, nil
}

// Config is what the stream was opened with.
func (s *Stream) Config() StreamConfig { return s.cfg }

// Start begins sending and receiving.
func (s *Stream) Start() {
	s.startOnce.Do(func() {
		for i := range s.recv {
			s.receiving.Go(func() { s.recv[i].run(s.stopRecv) })
			s.sending.Go(func() { s.send[i].run(s.stopSend) })
		}
	})
}

// Mark notes the current position, for a later Report.
func (s *Stream) Mark() Mark {
	return Mark{[2]uint64{s.send[0].next.Load(), s.send[1].next.Load()}, clock.Now()}
}

// Begin is the mark before the first datagram.
func (s *Stream) Begin() Mark { return Mark{} }

// Arrived is how many datagrams have arrived so far at A and at B.
func (s *Stream) Arrived() (atA, atB uint64) { return s.recv[0].count.Load(), s.recv[1].count.Load() }

// WaitFor blocks until at least n datagrams have arrived at each end.
func (s *Stream) WaitFor(ctx context.Context, n uint64) error {
	for {
		a, b := s.Arrived()
		if a >= n && b >= n {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("traffic: stream %d: %d and %d of %d datagrams arrived: %w", s.cfg.ID, a, b, n, ctx.Err())
		case <-time.After(time.Millisecond):
		}
	}
}

// Stop ends sending, waits for what is under way, ends receiving and closes the
// sockets. Later calls return when the first has.
func (s *Stream) Stop() {
	s.stopOnce.Do(func() {
		close(s.stopSend)
		s.sending.Wait()
		s.drain()
		close(s.stopRecv)
		s.receiving.Wait()
		unix.Close(s.fds[0])
		unix.Close(s.fds[1])
		close(s.stopped)
	})
	<-s.stopped
}

// drain waits until nothing more arrives.
func (s *Stream) drain() {
	begin := clock.Now()
	for clock.Now()-begin < drainLimit {
		last := max(begin, time.Duration(s.recv[0].lastAt.Load()), time.Duration(s.recv[1].lastAt.Load()))
		if clock.Now()-last >= quiet {
			return
		}
		clock.SleepUntil(last + quiet)
	}
}

// Report compares the numbers sent between two marks with what arrived. It
// must not be called before Stop has returned: what is under way is not lost.
func (s *Stream) Report(from, to Mark) StreamReport {
	<-s.stopped
	var r StreamReport
	for i, f := range []*Flow{&r.AToB, &r.BToA} {
		*f = account(from.next[i], to.next[i], s.recv[1-i].arrivals, s.send[i].slips)
		f.Damaged = s.recv[1-i].damaged.Load()
		f.Refused = s.send[i].refused.Load() + s.recv[i].refused.Load()
	}
	return r
}

// Whole is the report of the whole run.
func (s *Stream) Whole() StreamReport { return s.Report(s.Begin(), s.Mark()) }
