package card

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/dpmip/dpmip/cross/bundle"
	"github.com/dpmip/dpmip/cross/health"
	"github.com/dpmip/dpmip/cross/slots"
)

// Agent is the name of the agent in a bundle.
const Agent = "dpmip-agent"

// maxEnds is how often an agent on trial may end by itself before it is given up
// without waiting for the deadline.
const maxEnds = 3

// Runner runs one program at a time; Switch replaces it (the path of the agent).
type Runner interface {
	Switch(ctx context.Context, agent string) error
}

// Doctor asks the running agent.
type Doctor interface {
	Doctor(ctx context.Context) (map[string]health.Check, error)
}

// Config says how.
type Config struct {
	Store *slots.Store
	// Runner is told by updates and by the end of a trial; the first program is
	// given by Boot and started by the caller.
	Runner  Runner
	Doctor  Doctor
	Scratch string // folder in memory that bundles are unpacked into
	Image   string // the agent of the image itself

	Tries    int           // starts that a bundle has to prove itself
	Deadline time.Duration // from the switch until it must have proved itself
	Settle   time.Duration // how long it must be fit without a break
	Poll     time.Duration // between questions
	// Log takes a line; it must not block.
	Log func(format string, args ...any)
}

// Card is the state of updates. Methods may be called concurrently.
type Card struct {
	cfg    Config
	counts counts
	busy   chan struct{} // holds a token while an update or trial is under way

	mu      sync.Mutex // guards what follows
	choice  slots.Choice
	doing   string
	starts  int
	fuse    uint64 // as the store has it
	refused *slots.Refusal
	ends    int    // of the agent on trial, by itself
	ended   string // how it did last
}

// ErrBusy is the answer while another update is under way.
var ErrBusy = errors.New("card: another update is under way")

// New makes a Card; Boot comes next.
func New(cfg Config) *Card { return &Card{cfg: cfg, busy: make(chan struct{}, 1)} }

// Boot chooses what runs and gives the path of its agent.
func (c *Card) Boot() string {
	c.mu.Lock()
	c.starts++
	dir := filepath.Join(c.cfg.Scratch, strconv.Itoa(c.starts))
	c.mu.Unlock()
	choice := c.cfg.Store.Boot(func(s slots.Slot) func(bundle.File) (io.WriteCloser, error) {
		return func(f bundle.File) (io.WriteCloser, error) { return create(filepath.Join(dir, string(s)), f) }
	})
	for _, p := range choice.Problems {
		c.Count(SlotProblems)
		c.cfg.Log("slot passed over: %v", p)
	}
	path := c.cfg.Image
	if choice.Slot != slots.None {
		path = filepath.Join(dir, string(choice.Slot), Agent)
	}
	c.mu.Lock()
	c.choice = choice
	c.mu.Unlock()
	c.remember()
	c.cfg.Log("agent from %s, version %d %s, trial %v", choice.Slot, choice.Manifest.Version, choice.Manifest.Release, choice.Trial)
	c.tidy(dir)
	return path
}

// remember copies what Status tells of the store, which only updates touch.
func (c *Card) remember() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fuse, c.refused = c.cfg.Store.Fuse(), c.cfg.Store.State().Refused
}

// create makes one unpacked file.
func create(dir string, f bundle.File) (io.WriteCloser, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return os.OpenFile(filepath.Join(dir, f.Name), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, os.FileMode(f.Mode))
}

// tidy removes what earlier starts have unpacked, but for the last two: the
// program that is being replaced still runs.
func (c *Card) tidy(current string) {
	n, err := strconv.Atoi(filepath.Base(current))
	if err != nil || n < 3 {
		return
	}
	if err := os.RemoveAll(filepath.Join(c.cfg.Scratch, strconv.Itoa(n-2))); err != nil {
		c.cfg.Log("removing an old program: %v", err)
	}
}

// Status is what runs.
type Status struct {
	Slot    string         `json:"slot"` // a, b, image
	Trial   bool           `json:"trial"`
	Version uint64         `json:"version"`
	Release string         `json:"release"`
	Fuse    uint64         `json:"fuse"`
	Doing   string         `json:"doing"` // what an update is at; "" = none
	Refused *slots.Refusal `json:"refused,omitempty"`
}

// Status tells what runs now.
func (c *Card) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Status{
		Slot: c.choice.Slot.String(), Trial: c.choice.Trial, Version: c.choice.Manifest.Version,
		Release: c.choice.Manifest.Release, Fuse: c.fuse, Doing: c.doing, Refused: c.refused,
	}
}

// say notes what an update is at, for Status, log and whoever watches.
func (c *Card) say(watch func(string), format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	c.mu.Lock()
	c.doing = text
	c.mu.Unlock()
	c.cfg.Log("update: %s", text)
	if watch != nil {
		watch(text)
	}
}

// Ended is to be called whenever the agent has ended: on trial it may not do so
// often.
func (c *Card) Ended(how string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ends++
	c.ended = how
}

// crashes says that the agent on trial has ended too often; "" = it has not.
func (c *Card) crashes() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ends < maxEnds {
		return ""
	}
	return fmt.Sprintf("it ended %d times: %s", c.ends, c.ended)
}

// begin takes the token; the function it returns gives it back.
func (c *Card) begin() (func(), error) {
	select {
	case c.busy <- struct{}{}:
	default:
		return nil, ErrBusy
	}
	return func() {
		c.mu.Lock()
		c.doing = ""
		c.mu.Unlock()
		<-c.busy
	}, nil
}
