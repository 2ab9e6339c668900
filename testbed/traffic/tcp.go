package traffic

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/dpmip/dpmip/testbed/clock"
)

// TCPConfig describes a group of long-lived connections. Both ends ask and
// answer; nobody ever connects again.
type TCPConfig struct {
	Client, Server Endpoint      // the client's port is chosen by the kernel
	Connections    int           // 1..1000
	Interval       time.Duration // between requests, each way; 0 = 10 ms
}

// TCPGroup is a group of connections.
type TCPGroup struct {
	cfg      TCPConfig
	sessions []*session // client ends, then server ends

	running       sync.WaitGroup
	quietly, done chan struct{}
	stopOnce      sync.Once
	stoppedAt     time.Duration
	stopped       chan struct{}
	timeouts      uint64 // at Stop
}

// TCPMark is a moment in the life of a group.
type TCPMark struct {
	at       time.Duration
	timeouts uint64
}

// TCPReport is what a group came to between two marks.
type TCPReport struct {
	Connections int
	Survived    int           // same connection, every record in sequence; in the last window also every request answered
	MaxStall    time.Duration // longest silence at any end
	Timeouts    uint64        // retransmission time-outs (RTO) of all ends
	Errors      []error       // of those that did not survive
}

// OpenTCP connects all connections of the group and starts their traffic.
func OpenTCP(ctx context.Context, cfg TCPConfig) (*TCPGroup, error) {
	widen()
	if cfg.Interval == 0 {
		cfg.Interval = 10 * time.Millisecond
	}
	if cfg.Connections < 1 || cfg.Connections > 1000 || cfg.Interval < 0 {
		return nil, fmt.Errorf("traffic: %d connections every %v: want 1..1000", cfg.Connections, cfg.Interval)
	}
	g := &TCPGroup{cfg: cfg, quietly: make(chan struct{}), done: make(chan struct{}), stopped: make(chan struct{})}
	if err := g.connect(ctx); err != nil {
		g.closeAll()
		return nil, err
	}
	now := int64(clock.Now())
	for _, s := range g.sessions {
		s.lastAt.Store(now)
		g.running.Go(func() { s.write(g.quietly, g.done) })
		g.running.Go(func() { s.read(g.done) })
	}
	return g, nil
}

func (g *TCPGroup) connect(ctx context.Context) error {
	l, err := g.cfg.Server.NS.Listen(ctx, "tcp", g.cfg.Server.Addr.String())
	if err != nil {
		return fmt.Errorf("traffic: tcp server: %w", err)
	}
	defer l.Close()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	local := net.TCPAddrFromAddrPort(g.cfg.Client.At(0).Addr)
	var servers []*session
	for i := range g.cfg.Connections {
		c, err := g.cfg.Client.NS.Dial(ctx, &net.Dialer{LocalAddr: local}, "tcp", g.cfg.Server.Addr.String())
		if err != nil {
			return fmt.Errorf("traffic: tcp connection %d: %w", i, err)
		}
		g.sessions = append(g.sessions, newSession(c.(*net.TCPConn), uint32(i), g.cfg.Client.Gate, g.cfg.Interval))
		s, err := l.Accept()
		if err != nil {
			return fmt.Errorf("traffic: tcp connection %d: accept: %w", i, err)
		}
		servers = append(servers, newSession(s.(*net.TCPConn), uint32(i), g.cfg.Server.Gate, g.cfg.Interval))
		g.sessions = append(g.sessions, servers[i])
	}
	return nil
}

// Mark notes this moment, for a Report.
func (g *TCPGroup) Mark() TCPMark {
	select {
	case <-g.stopped:
		return TCPMark{g.stoppedAt, g.timeouts}
	default:
		return TCPMark{clock.Now(), g.countTimeouts()}
	}
}

// Stop ends the requests, waits up to limit for the last answers, and closes
// the connections. A connection with an unanswered request has not survived.
func (g *TCPGroup) Stop(limit time.Duration) {
	g.stopOnce.Do(func() {
		close(g.quietly)
		deadline := time.Now().Add(limit)
		for !g.allAnswered() && time.Now().Before(deadline) {
			clock.SleepUntil(clock.Now() + time.Millisecond)
		}
		for _, s := range g.sessions {
			if asked, answered := s.asked.Load(), s.answered.Load(); asked != answered {
				s.fail(fmt.Errorf("traffic: connection %d: %d of %d requests unanswered", s.id, asked-answered, asked), nil)
			}
		}
		g.stoppedAt, g.timeouts = clock.Now(), g.countTimeouts()
		close(g.done)
		g.closeAll()
		g.running.Wait()
		close(g.stopped)
	})
	<-g.stopped
}

// Report says what happened between two marks.
func (g *TCPGroup) Report(from, to TCPMark) TCPReport {
	r := TCPReport{Connections: g.cfg.Connections, Timeouts: to.timeouts - from.timeouts}
	dead := map[uint32]bool{}
	for _, s := range g.sessions {
		longest, err := s.state(from.at, to.at)
		r.MaxStall = max(r.MaxStall, longest)
		if err != nil {
			dead[s.id] = true
			r.Errors = append(r.Errors, err)
		}
	}
	r.Survived = r.Connections - len(dead)
	return r
}

func (g *TCPGroup) allAnswered() bool {
	for _, s := range g.sessions {
		if s.asked.Load() != s.answered.Load() {
			return false
		}
	}
	return true
}

func (g *TCPGroup) countTimeouts() (sum uint64) {
	for _, s := range g.sessions {
		n, err := rtoCount(s.conn)
		if err != nil && !errors.Is(err, net.ErrClosed) {
			s.fail(err, g.done)
		}
		sum += n
	}
	return sum
}

func (g *TCPGroup) closeAll() {
	for _, s := range g.sessions {
		s.conn.Close()
	}
}
