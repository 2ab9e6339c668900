package router

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/dpmip/dpmip/mobility/registration"
)

// FIB is the kernel's table as Server uses it; router/fib implements it.
type FIB interface {
	Apply([]Change) []error
	// Refresh mends what differs from what was applied, and tells of what.
	Refresh() ([]Moved, error)
}

// Store makes routes durable; router/state implements it.
type Store interface {
	Save(Persist) error
}

// Announcer is told which routes are held and in the kernel, or no longer, after
// that is durable; router/bgp implements it. It must not block.
type Announcer interface {
	Held([]Route)
	Gone([]netip.Addr)
}

// Sender sends messages; mobility/transport implements it.
type Sender interface {
	Send(ctx context.Context, msgs []registration.Send) error
}

// Server is the one loop that owns a Core. Everything else sends it work.
type Server struct {
	core    *Core
	fib     FIB
	store   Store
	send    Sender
	out     Announcer // nil: nobody
	use     use
	log     *slog.Logger
	metrics *Metrics
	work    chan func(now time.Time)
	changed chan struct{} // the kernel's routes or links have changed
	ready   chan struct{}
	resync  time.Duration
	sends   []registration.Send // gathered in one step
}

// NewServer wires a Server; see Loop.
// The kernel's table is audited every resync.
func NewServer(core *Core, fib FIB, store Store, send Sender, log *slog.Logger, m *Metrics, resync time.Duration) *Server {
	return &Server{core: core, fib: fib, store: store, send: send, log: log, metrics: m,
		work: make(chan func(time.Time)), changed: make(chan struct{}, 1), ready: make(chan struct{}), resync: resync}
}

// Announce names who is told of the routes. It is called before Loop.Run.
func (s *Server) Announce(a Announcer) { s.out = a }

// Changed is where a watcher of the kernel reports; it has room for one value.
func (s *Server) Changed() chan<- struct{} { return s.changed }

// Ready is closed once restored routes are back in the kernel.
func (s *Server) Ready() <-chan struct{} { return s.ready }

func (s *Server) String() string { return "router loop" }

// Handle gives received messages to the loop and returns when they have been
// decided; the messages need to be valid only so long.
func (s *Server) Handle(ctx context.Context, batch []registration.Inbound) {
	s.do(ctx, func(now time.Time) {
		for _, in := range batch {
			s.step(ctx, now, Received{Inbound: in})
		}
	})
}

// Unreachable tells the loop that nobody listens at a peer.
func (s *Server) Unreachable(ctx context.Context, e Unreachable) {
	s.do(ctx, func(now time.Time) { s.step(ctx, now, e) })
}

// Routes lists the routes; called from any goroutine.
func (s *Server) Routes(ctx context.Context) ([]Route, error) {
	var out []Route
	if !s.do(ctx, func(time.Time) { out = s.core.Routes() }) {
		return nil, fmt.Errorf("router: stopping: %w", ctx.Err())
	}
	return out, nil
}

// Route tells what is held for one address; called from any goroutine.
func (s *Server) Route(ctx context.Context, a netip.Addr) (r Route, ok bool, err error) {
	if !s.do(ctx, func(time.Time) { r, ok = s.core.Route(a) }) {
		return Route{}, false, fmt.Errorf("router: stopping: %w", ctx.Err())
	}
	return r, ok, nil
}

// do runs f in the loop and waits for it; false if ctx ended first.
func (s *Server) do(ctx context.Context, f func(time.Time)) bool {
	done := make(chan struct{})
	select {
	case s.work <- func(now time.Time) { defer close(done); f(now) }:
	case <-ctx.Done():
		return false
	}
	<-done
	return true
}

// Loop is the Server as a task.
type Loop struct {
	*Server
	Restored []Change // what Core.Restore gave
}

// Run owns the Core until ctx ends. Routes stay in the kernel when it ends.
func (l Loop) Run(ctx context.Context) error {
	s := l.Server
	s.restore(l.Restored)
	s.step(ctx, time.Now(), Start{})
	s.flush(ctx)
	close(s.ready)
	timer := time.NewTimer(s.next(time.Now()))
	defer timer.Stop()
	audit := time.NewTicker(s.resync)
	defer audit.Stop()
	pace := NewPace()
	defer pace.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case f := <-s.work:
			f(time.Now())
		case <-s.changed:
			pace.Ask(time.Now())
		case <-audit.C:
			pace.Ask(time.Now())
		case <-pace.Due():
			pace.Do(func() { s.refresh(ctx) })
		case <-timer.C:
			s.step(ctx, time.Now(), Tick{})
		}
		s.flush(ctx)
		timer.Reset(s.next(time.Now()))
	}
}

func (s *Server) restore(chs []Change) {
	now := time.Now()
	s.metrics.limit.Set(float64(s.core.Limit()))
	for i, err := range s.fib.Apply(chs) {
		s.core.Step(now, Moved{Address: chs[i].Address, Err: err})
		if err != nil {
			s.log.Warn("a stored route is not in the kernel", "address", chs[i].Address, "err", err)
		}
	}
	s.metrics.setRoutes(len(s.core.routes))
	if s.out != nil {
		s.out.Held(s.core.Routes())
	}
}

func (s *Server) next(now time.Time) time.Duration {
	at, ok := s.core.Next()
	if !ok {
		return time.Hour
	}
	return max(0, at.Sub(now))
}

// refresh lets the FIB mend itself after the kernel has changed.
func (s *Server) refresh(ctx context.Context) {
	moved, err := s.fib.Refresh()
	if err != nil {
		s.log.Error("reading the kernel's routes", "err", err)
		return
	}
	for _, m := range moved {
		s.metrics.mended.Inc()
		if m.Err != nil {
			s.log.Warn("host route lost its way", "address", m.Address, "err", m.Err)
		} else {
			s.log.Info("host route put right", "address", m.Address)
		}
		s.step(ctx, time.Now(), m)
		s.use.version++
		if r := s.core.routes[m.Address]; s.out != nil && r != nil {
			s.out.Held([]Route{*r})
		}
	}
}

// step carries out one event and all that follows from it.
func (s *Server) step(ctx context.Context, now time.Time, e Event) {
	for _, eff := range s.core.Step(now, e) {
		switch eff := eff.(type) {
		case registration.Send:
			s.sends = append(s.sends, eff)
		case Program:
			errs := s.fib.Apply(eff.Changes)
			s.report(eff.Changes, errs)
			s.step(ctx, now, Programmed{ID: eff.ID, Errs: errs})
		case Persist:
			s.use.version++
			s.metrics.setRoutes(len(s.core.routes))
			if err := s.store.Save(eff); err != nil {
				s.metrics.storeErrors.Inc()
				s.log.Error("saving routes: not answered, the management node will ask again", "err", err)
				return // nothing is acknowledged that is not durable
			}
			s.announce(eff)
		case Refused:
			s.refused(now, eff)
		case registration.Count:
			s.metrics.messages.WithLabelValues(eff.Name).Inc()
		case registration.PeerUp:
			s.use.contacts++
			s.log.Info("management node up", "peer", eff.Peer, "restarted", eff.Restarted)
		case registration.PeerDown:
			s.log.Warn("management node down; routes stay", "peer", eff.Peer)
		}
	}
}

func (s *Server) announce(p Persist) {
	if s.out == nil {
		return
	}
	if len(p.Put) > 0 {
		s.out.Held(p.Put)
	}
	if len(p.Forget) > 0 {
		s.out.Gone(p.Forget)
	}
}

func (s *Server) report(chs []Change, errs []error) {
	for i, err := range errs {
		switch {
		case err != nil:
			s.log.Error("host route failed", "address", chs[i].Address, "locator", chs[i].Locator, "err", err)
		case chs[i].Locator.IsValid():
			s.log.Info("host route set", "address", chs[i].Address, "locator", chs[i].Locator)
		default:
			s.log.Info("host route withdrawn", "address", chs[i].Address)
		}
	}
}

func (s *Server) flush(ctx context.Context) {
	if len(s.sends) == 0 {
		return
	}
	if err := s.send.Send(ctx, s.sends); err != nil {
		s.log.Warn("sending", "err", err)
	}
	s.sends = s.sends[:0]
}
