package daemon

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/dpmip/dpmip/agent"
	"github.com/dpmip/dpmip/agent/bul"
	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/mobility/registration"
)

// ErrStopping is returned to commands that come too late.
var ErrStopping = errors.New("daemon: the agent is stopping")

// Store keeps records where they survive the process; Records implements it.
type Store interface {
	Put(agent.Record) error
	Delete(agent.Record)
}

// Sender sends messages; mobility/transport implements it.
type Sender interface {
	Send(ctx context.Context, msgs []registration.Send) error
}

// Loop owns the Core. Everybody else sends it work.
type Loop struct {
	core    *agent.Core
	store   Store
	worker  *Worker
	post    *Post
	reports *Reports // nil: nobody to report to
	metrics *Metrics
	log     *slog.Logger

	urgent  chan func(now time.Time) // commands
	work    chan func(now time.Time) // messages
	ready   chan struct{}
	stopped chan struct{}
	start   []agent.Effect
	id      agent.CommandID
	pending map[agent.CommandID]chan agent.Answer
}

// Parts is what a Loop is wired from.
type Parts struct {
	Core     *agent.Core
	Store    Store
	Worker   *Worker
	Post     *Post
	Reports  *Reports
	Metrics  *Metrics
	Log      *slog.Logger
	Restored []agent.Record
	Rebooted bool // the card's rules are gone
}

// NewLoop makes a Loop; nothing happens before Run.
func NewLoop(p Parts) *Loop {
	return &Loop{
		core: p.Core, store: p.Store, worker: p.Worker, post: p.Post, reports: p.Reports, metrics: p.Metrics, log: p.Log,
		urgent: make(chan func(time.Time)), work: make(chan func(time.Time)), ready: make(chan struct{}), stopped: make(chan struct{}),
		start:   p.Core.Start(time.Now(), p.Restored, p.Rebooted, nil),
		pending: make(map[agent.CommandID]chan agent.Answer),
	}
}

func (l *Loop) String() string { return "agent loop" }

// Ready is closed when the loop takes commands and messages.
func (l *Loop) Ready() <-chan struct{} { return l.ready }

// Run owns the Core until ctx ends; forwarding stays as it is then.
func (l *Loop) Run(ctx context.Context) error {
	defer close(l.stopped)
	l.run(l.start)
	l.start = nil
	close(l.ready)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		l.commands()
		l.post.flush()
		if at, ok := l.core.Next(); ok {
			timer.Reset(max(time.Until(at), 0))
		} else {
			timer.Stop()
		}
		select {
		case <-ctx.Done():
			return nil
		case f := <-l.urgent:
			f(time.Now())
		case f := <-l.work:
			f(time.Now())
		case rs := <-l.worker.results:
			for _, r := range rs {
				l.step(time.Now(), r)
				l.commands()
			}
		case <-timer.C:
			l.step(time.Now(), agent.Tick{})
		}
	}
}

// commands carries out what commands wait: between any two other things.
func (l *Loop) commands() {
	for {
		select {
		case f := <-l.urgent:
			f(time.Now())
		default:
			return
		}
	}
}

func (l *Loop) step(now time.Time, e agent.Event) { l.run(l.core.Step(now, e, nil)) }

// run carries effects out in order. What the loop does itself has its Result
// stepped at once, ahead of the effects that were already waiting only where
// the Core asked for it (Switch).
func (l *Loop) run(effects []agent.Effect) {
	for len(effects) > 0 {
		e := effects[0]
		effects = effects[1:]
		switch e := e.(type) {
		case agent.Persist:
			if err := l.persist(e); e.Ref != 0 {
				effects = append(effects, l.core.Step(time.Now(), agent.Result{Ref: e.Ref, Err: err}, nil)...)
			}
		case agent.Switch:
			if e.Op == agent.OpDisarm { // never urgent, and the reconciler must know first
				l.worker.add(job{effect: e})
				continue
			}
			r := l.worker.hands.Switch(e)
			l.worker.add(job{note: e})
			l.metrics.switched(e.Op, r)
			effects = append(l.core.Step(time.Now(), r, nil), effects...)
		default:
			l.hand(e)
		}
	}
}

// hand passes an effect on to whoever carries it out.
func (l *Loop) hand(e agent.Effect) {
	switch e := e.(type) {
	case agent.Send:
		l.post.add(e.Send)
	case agent.Answer:
		if ch := l.pending[e.ID]; ch != nil {
			delete(l.pending, e.ID)
			ch <- e
		}
	case agent.Report:
		if l.reports != nil {
			l.reports.add(e)
		}
	case agent.Traffic:
		if l.reports != nil {
			l.reports.addTraffic(e)
		}
	case agent.Count:
		l.metrics.count(e.Name)
	case agent.Note:
		l.note(e)
	default:
		l.worker.add(job{effect: e})
	}
}

func (l *Loop) persist(e agent.Persist) error {
	if e.Delete {
		l.store.Delete(e.Record)
		return nil
	}
	err := l.store.Put(e.Record)
	if err != nil && !errors.Is(err, hwabstraction.ErrRegionFull) {
		l.log.Error("a record cannot be kept", "vm", e.Record.VM.String(), "err", err)
	}
	return err
}

func (l *Loop) note(n agent.Note) {
	level := [...]slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn}[n.Level]
	attrs := make([]any, 0, 4)
	if !n.VM.IsZero() {
		attrs = append(attrs, "vm", n.VM.String())
	}
	if n.Err != nil {
		attrs = append(attrs, "err", n.Err)
	}
	l.log.Log(context.Background(), level, n.Text, attrs...)
}

// Handle gives received messages to the loop and returns when they have been
// decided.
func (l *Loop) Handle(ctx context.Context, batch []registration.Inbound) {
	l.do(ctx, l.work, func(time.Time) {
		for _, in := range batch {
			l.step(time.Now(), agent.Inbound{Inbound: in})
			l.commands()
		}
	})
}

// Unreachable tells the loop that nobody listens at a peer.
func (l *Loop) Unreachable(ctx context.Context, e agent.Unreachable) {
	l.do(ctx, l.work, func(now time.Time) { l.step(now, e) })
}

// Views lists the VMs.
func (l *Loop) Views(ctx context.Context) (out []agent.View, err error) {
	if !l.do(ctx, l.urgent, func(time.Time) { out = l.core.List() }) {
		return nil, ErrStopping
	}
	return out, nil
}

// Contact tells which management nodes answer.
func (l *Loop) Contact(ctx context.Context) (out agent.Contact, err error) {
	if !l.do(ctx, l.urgent, func(time.Time) { out = l.core.Contact() }) {
		return out, ErrStopping
	}
	return out, nil
}

// Stats tells how full the binding update list is.
func (l *Loop) Stats(ctx context.Context, r *Records) (out bul.Stats, err error) {
	if !l.do(ctx, l.urgent, func(time.Time) { out = r.Stats() }) {
		return out, ErrStopping
	}
	return out, nil
}

// Command gives the Core a command and waits for its answer.
func (l *Loop) Command(ctx context.Context, make_ func(agent.CommandID) agent.Event) (agent.Answer, error) {
	ch := make(chan agent.Answer, 1)
	var id agent.CommandID
	ok := l.do(ctx, l.urgent, func(now time.Time) {
		l.id++
		id = l.id
		l.pending[id] = ch
		l.step(now, make_(id))
		l.post.flush()
	})
	if !ok {
		return agent.Answer{}, ErrStopping
	}
	select {
	case a := <-ch:
		return a, a.Err
	case <-l.stopped:
		return agent.Answer{}, ErrStopping
	case <-ctx.Done():
		l.do(context.WithoutCancel(ctx), l.urgent, func(time.Time) { delete(l.pending, id) })
		return agent.Answer{}, ctx.Err()
	}
}

// do runs f in the loop and waits for it; false if ctx ended first.
func (l *Loop) do(ctx context.Context, through chan func(time.Time), f func(time.Time)) bool {
	done := make(chan struct{})
	select {
	case through <- func(now time.Time) { defer close(done); f(now) }:
	case <-ctx.Done():
		return false
	case <-l.stopped:
		return false
	}
	<-done
	return true
}

// Post is the task that sends messages: the loop leaves them with it and goes
// on.
type Post struct {
	sender Sender
	log    *slog.Logger
	wake   chan struct{}
	failed bool // the last time, so that an outage is told once

	mu     sync.Mutex // guards box
	box    []registration.Send
	laying []registration.Send // of the loop, not yet flushed
}

// NewPost makes the Post of a transport.
func NewPost(s Sender, log *slog.Logger) *Post {
	return &Post{sender: s, log: log, wake: make(chan struct{}, 1)}
}

func (p *Post) String() string { return "post" }

// add and flush are the loop's.
func (p *Post) add(s registration.Send) { p.laying = append(p.laying, s) }

func (p *Post) flush() {
	if len(p.laying) == 0 {
		return
	}
	p.mu.Lock()
	p.box = append(p.box, p.laying...)
	p.mu.Unlock()
	p.laying = p.laying[:0]
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Run sends until ctx ends.
func (p *Post) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.wake:
		}
		p.mu.Lock()
		box := p.box
		p.box = nil
		p.mu.Unlock()
		err := p.sender.Send(ctx, box)
		switch {
		case ctx.Err() != nil:
		case err != nil && !p.failed:
			p.log.Warn("messages cannot be sent; they are retransmitted", "err", err)
		case err == nil && p.failed:
			p.log.Info("messages can be sent again")
		}
		p.failed = err != nil
	}
}
