package traffic

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/dpmip/dpmip/testbed/clock"
)

// AttemptConfig describes tries at new connections, each from a new port.
type AttemptConfig struct {
	Network  string // "tcp" or "udp"
	From     Endpoint
	To       netip.AddrPort // where a Service is, or should not be reachable
	Interval time.Duration  // between the starts of two tries
	Timeout  time.Duration  // after it a try is unanswered; 0 = 1 s
	Count    int            // of tries that StartAttempts makes; 0 = until Stop
}

// Outcome of one try.
type Outcome uint8

// Outcomes.
const (
	Accepted   Outcome = 1 // the service's greeting arrived
	Refused    Outcome = 2 // a reset or an ICMP error arrived
	Unanswered Outcome = 3 // nothing arrived in time
)

func (o Outcome) String() string {
	switch o {
	case Accepted:
		return "accepted"
	case Refused:
		return "refused"
	case Unanswered:
		return "unanswered"
	}
	return "invalid"
}

// Attempt is one try.
type Attempt struct {
	At      time.Duration // clock when it began
	Took    time.Duration // until the outcome
	Outcome Outcome
	Err     error // what said so; nil if accepted
}

// AttemptReport sums tries up.
type AttemptReport struct {
	Attempted, Accepted, Refused, Unanswered int
	MaxRefused, MaxAccepted                  time.Duration // longest time to such an outcome
}

// Attempts makes tries until it is stopped.
type Attempts struct {
	cfg     AttemptConfig
	running sync.WaitGroup
	done    chan struct{}
	once    sync.Once

	mu    sync.Mutex // guards tries
	tries []Attempt
}

// Try makes one try and waits for its outcome.
func Try(ctx context.Context, cfg AttemptConfig) Attempt {
	if cfg.Timeout == 0 {
		cfg.Timeout = time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.Timeout)
	defer cancel()
	a := Attempt{At: clock.Now()}
	a.Err = reach(ctx, cfg)
	a.Took = clock.Now() - a.At
	a.Outcome = judge(a.Err)
	return a
}

// reach connects, says something and reads the greeting.
func reach(ctx context.Context, cfg AttemptConfig) error {
	d := &net.Dialer{}
	local := cfg.From.At(0).Addr
	switch cfg.Network {
	case "tcp":
		d.LocalAddr = net.TCPAddrFromAddrPort(local)
	case "udp":
		d.LocalAddr = net.UDPAddrFromAddrPort(local)
	default:
		return fmt.Errorf("traffic: attempt over %q: want tcp or udp", cfg.Network)
	}
	c, err := cfg.From.NS.Dial(ctx, d, cfg.Network, cfg.To.String())
	if err != nil {
		return err
	}
	defer c.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(deadline); err != nil {
			return err
		}
	}
	if cfg.Network == "udp" {
		if _, err := c.Write(greeting); err != nil {
			return err
		}
	}
	buf := make([]byte, len(greeting))
	if _, err := io.ReadFull(c, buf); err != nil {
		return err
	}
	if !bytes.Equal(buf, greeting) {
		return fmt.Errorf("traffic: greeting %q", buf)
	}
	return nil
}

func judge(err error) Outcome {
	var timeout net.Error
	switch {
	case err == nil:
		return Accepted
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, syscall.ETIMEDOUT):
		return Unanswered
	}
	return Refused
}

// StartAttempts begins tries, until Stop or Count; they overlap where outcomes take longer than the
// interval. A VM's tries are gated like all its sending.
func StartAttempts(ctx context.Context, cfg AttemptConfig) *Attempts {
	a := &Attempts{cfg: cfg, done: make(chan struct{})}
	a.running.Go(func() {
		tick := time.NewTicker(cfg.Interval)
		defer tick.Stop()
		for n := 0; cfg.Count == 0 || n < cfg.Count; n++ {
			if _, ok := cfg.From.Gate.Enter(a.done); !ok {
				return
			}
			cfg.From.Gate.Leave()
			a.running.Go(func() { a.note(Try(ctx, cfg)) })
			select {
			case <-a.done:
				return
			case <-tick.C:
			}
		}
	})
	return a
}

func (a *Attempts) note(t Attempt) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tries = append(a.tries, t)
}

// Stop begins no more tries and waits for the outcomes of those under way.
func (a *Attempts) Stop() {
	a.once.Do(func() { close(a.done) })
	a.running.Wait()
}

// Tries lists what has an outcome so far.
func (a *Attempts) Tries() []Attempt {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]Attempt(nil), a.tries...)
}

// Report sums up the tries that began in the window; a zero to means no end.
func (a *Attempts) Report(from, to time.Duration) (r AttemptReport) {
	for _, t := range a.Tries() {
		if t.At < from || to != 0 && t.At >= to {
			continue
		}
		r.Attempted++
		switch t.Outcome {
		case Accepted:
			r.Accepted++
			r.MaxAccepted = max(r.MaxAccepted, t.Took)
		case Refused:
			r.Refused++
			r.MaxRefused = max(r.MaxRefused, t.Took)
		case Unanswered:
			r.Unanswered++
		}
	}
	return r
}
