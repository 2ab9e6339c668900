package supervise

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/dpmip/dpmip/cross/reap"
)

// Health is what a probe found.
type Health uint8

// The answers of a probe; 0 is none of them.
const (
	Well Health = iota + 1
	Sick        // it answers, and says that something is wrong
	Dead        // it does not answer
)

func (h Health) String() string {
	switch h {
	case Well:
		return "well"
	case Sick:
		return "sick"
	case Dead:
		return "dead"
	}
	return fmt.Sprintf("Health(%d)", uint8(h))
}

// Probe asks once; the text says what was found. It ends with ctx.
type Probe func(ctx context.Context) (Health, string)

// Starter starts processes; *reap.Reaper is one.
type Starter interface {
	Start(reap.Spec) (*reap.Child, error)
}

// Config says how. The zero value of a duration or number takes the default.
type Config struct {
	Starter Starter
	// Output receives the lines that the program prints; nil = nowhere. It is
	// written to by one goroutine at a time.
	Output io.Writer
	Probe  Probe // nil = only its end counts

	Grace    time.Duration // from the start until a probe counts; 10 s
	Every    time.Duration // between probes; 2 s
	Timeout  time.Duration // of a probe; 2 s
	Dead     int           // probes in a row without an answer that end it; 3
	SickFor  time.Duration // how long it may say that it is sick; 60 s
	MinDelay time.Duration // before the second start; 200 ms
	MaxDelay time.Duration // 30 s
	Settled  time.Duration // after running so long the delay is the least again; 60 s
	Stop     time.Duration // from SIGTERM to SIGKILL; 5 s
	// Event is told what happens, by the supervisor's own goroutine; it must not
	// block. nil = nobody.
	Event func(Event)
}

func (c Config) withDefaults() Config {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.Grace, 10*time.Second)
	def(&c.Every, 2*time.Second)
	def(&c.Timeout, 2*time.Second)
	def(&c.SickFor, time.Minute)
	def(&c.MinDelay, 200*time.Millisecond)
	def(&c.MaxDelay, 30*time.Second)
	def(&c.Settled, time.Minute)
	def(&c.Stop, 5*time.Second)
	if c.Dead == 0 {
		c.Dead = 3
	}
	if c.Event == nil {
		c.Event = func(Event) {}
	}
	if c.Output == nil {
		c.Output = io.Discard
	}
	return c
}

// EventKind is what has happened.
type EventKind uint8

// The events; 0 is none of them.
const (
	Started   EventKind = iota + 1
	Failed              // it could not be started
	Ended               // it ended, by itself or because it was told to
	Unhealthy           // it is about to be ended for that
	Killed              // it ignored SIGTERM
)

func (k EventKind) String() string {
	switch k {
	case Started:
		return "started"
	case Failed:
		return "could not be started"
	case Ended:
		return "ended"
	case Unhealthy:
		return "unhealthy"
	case Killed:
		return "killed"
	}
	return fmt.Sprintf("EventKind(%d)", uint8(k))
}

// Event is one thing that has happened.
type Event struct {
	Kind    EventKind
	Program string // its path
	PID     int
	Detail  string
}
