package daemon

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/dpmip/dpmip/agent"
	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/mobility"
)

// Worker owns the device: it carries out, in order, what the loop hands it, and
// resynchronises when that is due.
type Worker struct {
	hands   *agent.Hands
	gateway mobility.MAC
	results chan []agent.Result
	log     *slog.Logger

	mu    sync.Mutex // guards queue
	queue []job
	wake  chan struct{} // has room for one
}

// job is one thing for the worker: an effect, or a call.
type job struct {
	effect agent.Effect
	note   agent.Switch // tell the reconciler of a switch that was made
	call   func(context.Context, *agent.Hands)
}

// NewWorker makes the Worker of a device whose VM ports have the gateway's MAC;
// zero means hwabstraction.DefaultGatewayMAC.
func NewWorker(h *agent.Hands, gateway mobility.MAC, log *slog.Logger) *Worker {
	if gateway == (mobility.MAC{}) {
		gateway = hwabstraction.DefaultGatewayMAC
	}
	return &Worker{hands: h, gateway: gateway, results: make(chan []agent.Result, 16), log: log, wake: make(chan struct{}, 1)}
}

func (w *Worker) String() string { return "device" }

// add queues a job; it never blocks.
func (w *Worker) add(j job) {
	w.mu.Lock()
	w.queue = append(w.queue, j)
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Call runs f on the worker and waits for it; false if ctx ended first.
func (w *Worker) Call(ctx context.Context, f func(context.Context, *agent.Hands)) bool {
	done := make(chan struct{})
	w.add(job{call: func(ctx context.Context, h *agent.Hands) { defer close(done); f(ctx, h) }})
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}

func (w *Worker) take() []job {
	w.mu.Lock()
	defer w.mu.Unlock()
	q := w.queue
	w.queue = nil
	return q
}

// Run works until ctx ends. The rules stay as they are.
func (w *Worker) Run(ctx context.Context) error {
	timer := time.NewTimer(w.next())
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.wake:
		case <-timer.C:
			w.resync(ctx)
		}
		for q := w.take(); len(q) > 0; q = w.take() {
			if r := w.do(ctx, q); len(r) > 0 {
				select {
				case w.results <- r:
				case <-ctx.Done():
					return nil
				}
			}
		}
		timer.Reset(w.next())
	}
}

// do carries out a batch, neighbouring effects together.
func (w *Worker) do(ctx context.Context, q []job) (out []agent.Result) {
	var batch []agent.Effect
	flush := func() {
		out = append(out, w.hands.Do(ctx, batch)...)
		batch = batch[:0]
	}
	for _, j := range q {
		switch {
		case j.call != nil:
			flush()
			j.call(ctx, w.hands)
		case j.effect != nil:
			if a, ok := j.effect.(agent.Announce); ok {
				flush()
				w.announce(a)
				continue
			}
			batch = append(batch, j.effect)
		default:
			flush()
			w.hands.Note(j.note)
		}
	}
	flush()
	return out
}

// next is how long until the reconciler has something to do.
func (w *Worker) next() time.Duration {
	return max(time.Until(w.hands.Reconciler.Next()), time.Millisecond)
}

func (w *Worker) resync(ctx context.Context) {
	for _, st := range w.hands.Reconciler.Sync(ctx) {
		if st.Err != nil && ctx.Err() == nil {
			w.log.Warn("rule", "rule", st.Rule.ID().String(), "state", st.State.String(), "tries", st.Tries, "err", st.Err)
		}
	}
}

// announce tells a VM that its gateways are behind this port now. It says
// nothing of the VM's own addresses: on this port nobody but the VM would hear
// it, and would see its addresses claimed by another (RFC 5227, RFC 4862).
func (w *Worker) announce(a agent.Announce) {
	for _, addr := range []netip.Addr{hwabstraction.Gateway4, hwabstraction.Gateway6} {
		frame, err := announcement(w.gateway, addr)
		if err == nil {
			err = w.hands.Device.Transmit(a.Port, frame)
		}
		if err != nil {
			w.log.Warn("announcement", "port", a.Port, "address", addr, "err", err)
		}
	}
}
