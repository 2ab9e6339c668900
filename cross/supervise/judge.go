package supervise

import (
	"context"
	"fmt"
	"time"
)

// finding is the outcome of one probe.
type finding struct {
	health Health
	text   string
}

// judge turns findings into a verdict.
type judge struct {
	cfg   *Config
	start time.Time
	dead  int       // in a row
	sick  time.Time // since when; zero = it is not
}

// next takes a finding and says why the program is to be ended; "" where it may
// go on. Until the grace is over no answer is no fault, unless there was one.
func (j *judge) next(f finding, now time.Time) string {
	switch f.health {
	case Dead:
		if now.Sub(j.start) < j.cfg.Grace {
			return ""
		}
		if j.dead++; j.dead >= j.cfg.Dead {
			return fmt.Sprintf("%d times no answer: %s", j.dead, f.text)
		}
	case Sick:
		j.dead = 0
		if j.sick.IsZero() {
			j.sick = now
		}
		if d := now.Sub(j.sick); d >= j.cfg.SickFor {
			return fmt.Sprintf("sick for %v: %s", d.Round(time.Second), f.text)
		}
	default:
		j.dead, j.sick = 0, time.Time{}
	}
	return ""
}

// probes asks again and again, in a goroutine of its own: a probe that hangs
// must not keep the supervisor. stop ends it and waits for that.
func (s *Supervisor) probes(ctx context.Context) (<-chan finding, func()) {
	if s.cfg.Probe == nil {
		return nil, func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	out, done := make(chan finding), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(s.cfg.Every)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			f := s.probe(ctx)
			select {
			case out <- f:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, func() { cancel(); <-done }
}

func (s *Supervisor) probe(ctx context.Context) finding {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	h, text := s.cfg.Probe(ctx)
	return finding{h, text}
}
