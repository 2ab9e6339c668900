package daemon

import (
	"context"
	"net/netip"

	"github.com/dpmip/dpmip/agent"
	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/internal/probe"
)

// Traps catches probes with the device: it is a prover.Catcher, and the task
// that hands on what the device has caught.
type Traps struct {
	worker *Worker
	caught func(probe.Packet)
	users  map[netip.Addr]int // of the worker's goroutine
}

// NewTraps makes the Traps of a device that has the feature; nil if it has not.
func NewTraps(w *Worker) *Traps {
	if !w.hands.Device.Capabilities().Has(hwabstraction.FeatureTrap) {
		return nil
	}
	return &Traps{worker: w, users: map[netip.Addr]int{}}
}

func (t *Traps) String() string { return "traps" }

// To says who is given what is caught; before Run.
func (t *Traps) To(f func(probe.Packet)) { t.caught = f }

// Catch puts a trap for an address, unless there is one.
func (t *Traps) Catch(ctx context.Context, a netip.Addr) error {
	put := make(chan error) // unbuffered: a trap that nobody takes over is taken away
	t.worker.add(job{call: func(work context.Context, h *agent.Hands) {
		err := t.put(work, h, a)
		select {
		case put <- err:
		case <-ctx.Done():
			if err == nil {
				t.take(work, h, a)
			}
		}
	}})
	select {
	case err := <-put:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Release takes it away after the last has released it.
func (t *Traps) Release(a netip.Addr) {
	t.worker.add(job{call: func(ctx context.Context, h *agent.Hands) { t.take(ctx, h, a) }})
}

func (t *Traps) put(ctx context.Context, h *agent.Hands, a netip.Addr) error {
	if t.users[a] == 0 {
		if err := h.Trap(ctx, a, true); err != nil {
			_ = h.Trap(ctx, a, false) // nothing of it stays
			return err
		}
	}
	t.users[a]++
	return nil
}

func (t *Traps) take(ctx context.Context, h *agent.Hands, a netip.Addr) {
	if t.users[a]--; t.users[a] == 0 {
		delete(t.users, a)
		_ = h.Trap(ctx, a, false) // what fails is tried again by the reconciler
	}
}

// Run hands on until ctx ends.
func (t *Traps) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case x, open := <-t.worker.hands.Device.Trapped():
			if !open {
				return nil
			}
			if p, ok := probe.Parse(x.Frame); ok {
				t.caught(p)
			}
		}
	}
}
