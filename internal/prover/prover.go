package prover

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	dpmipv1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/internal/probe"
)

// Management is where tasks come from and answers go; *mgmtclient.Client
// implements it.
type Management interface {
	WatchProofs(ctx context.Context, r *dpmipv1.WatchProofsRequest, open func(), task func(*dpmipv1.ProofTask)) error
	ReportProof(ctx context.Context, r *dpmipv1.ReportProofRequest) error
}

// Sender sends one probe; *probe.Socket implements it.
type Sender interface {
	Send(from, to netip.Addr, t probe.Token) error
}

// Catcher makes probes to an address come to the node instead of going on.
type Catcher interface {
	// Catch begins, blocking as long as a device does. Each success is undone by
	// one Release, which does not block.
	Catch(ctx context.Context, a netip.Addr) error
	Release(a netip.Addr)
}

// Kernel is a router's.
type Kernel interface {
	// Await waits until the kernel has a host route of the address, or has none,
	// or ctx ends.
	Await(ctx context.Context, a netip.Addr, installed bool) error
}

// Config says what a Prover works with.
type Config struct {
	Node       string // as the inventory has it
	Management Management
	Sender     Sender
	Catcher    Catcher // nil: the node catches nothing
	Kernel     Kernel  // nil: the node is asked for no routes
	Log        *slog.Logger
}

// Bounds of the work.
const (
	maxTasks      = 8192
	firstRepeat   = 5 * time.Millisecond // of a probe; doubling
	lastRepeat    = 50 * time.Millisecond
	eager         = 10 * time.Second // then the probe comes more seldom:
	patient       = time.Second
	reportTimeout = 2 * time.Second
	reportRetry   = 50 * time.Millisecond
	firstRedial   = 50 * time.Millisecond // doubling
	lastRedial    = 500 * time.Millisecond
)

// Prover is a task that serves one node's tasks.
type Prover struct {
	c     Config
	tasks sync.WaitGroup

	mu      sync.Mutex // guards what follows
	running map[probe.Token]*running
	expects map[probe.Token]func(probe.Packet)
}

// running is a task that is being done, or is ending.
type running struct {
	ctx    context.Context
	cancel context.CancelFunc
	ended  chan struct{}
}

// New makes a Prover; nothing happens before Run.
func New(c Config) *Prover {
	return &Prover{c: c, running: map[probe.Token]*running{}, expects: map[probe.Token]func(probe.Packet){}}
}

func (p *Prover) String() string { return "prover" }

func (p *Prover) can() []string {
	can := []string{"send"}
	if p.c.Catcher != nil {
		can = append(can, "catch")
	}
	if p.c.Kernel != nil {
		can = append(can, "installed", "absent")
	}
	return can
}

// Run serves tasks until ctx ends, whatever becomes of the management node.
func (p *Prover) Run(ctx context.Context) error {
	wait := firstRedial
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		life, end := context.WithCancel(ctx) // of what one stream has asked for
		err := p.c.Management.WatchProofs(life, &dpmipv1.WatchProofsRequest{Node: p.c.Node, Can: p.can()},
			func() { wait = firstRedial }, func(t *dpmipv1.ProofTask) { p.begin(life, t) })
		end()
		p.tasks.Wait()
		if ctx.Err() == nil {
			p.c.Log.Debug("no proofs can be asked for until the management node answers", "err", err)
		}
		timer.Reset(wait)
		wait = min(2*wait, lastRedial)
	}
}

// Caught takes a probe that has come.
func (p *Prover) Caught(x probe.Packet) {
	p.mu.Lock()
	f := p.expects[x.Token]
	p.mu.Unlock()
	if f != nil {
		f(x)
	}
}

// begin starts a task, or ends one.
func (p *Prover) begin(ctx context.Context, t *dpmipv1.ProofTask) {
	token, err := probe.TokenOf(t.GetToken())
	if err != nil {
		p.c.Log.Warn("a task that makes no sense", "err", err)
		return
	}
	if t.GetAction() == "cancel" {
		p.end(token)
		return
	}
	task := p.serve(t, token)
	if task == nil {
		action := t.GetAction()
		task = func(context.Context) error { return fmt.Errorf("%q is no task of this version", action) }
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.running[token]
	if before != nil && before.ctx.Err() == nil { // it is being done
		return
	}
	if len(p.running) >= maxTasks {
		p.c.Log.Warn("too many proofs at once")
		return
	}
	r := &running{ended: make(chan struct{})}
	r.ctx, r.cancel = context.WithTimeout(ctx, time.Duration(t.GetLastsNs()))
	p.running[token] = r
	p.tasks.Go(func() {
		defer p.ended(token, r)
		if before != nil { // asked for anew while it ends: what that puts away is not to be this one's
			<-before.ended
		}
		if err := task(r.ctx); err != nil && r.ctx.Err() == nil {
			p.answer(r.ctx, token, probe.Packet{}, err)
		}
	})
}

// end has a task end soon.
func (p *Prover) end(t probe.Token) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r := p.running[t]; r != nil {
		r.cancel()
	}
}

// ended notes that a task has.
func (p *Prover) ended(t probe.Token, r *running) {
	r.cancel()
	close(r.ended)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running[t] == r {
		delete(p.running, t)
	}
}

// serve is the work of a task; nil = unknown.
func (p *Prover) serve(t *dpmipv1.ProofTask, token probe.Token) func(context.Context) error {
	switch t.GetAction() {
	case "send":
		return func(ctx context.Context) error { return p.send(ctx, t, token) }
	case "catch":
		return func(ctx context.Context) error { return p.catch(ctx, t, token) }
	case "installed", "absent":
		return func(ctx context.Context) error { return p.await(ctx, t, token) }
	}
	return nil
}

// send repeats a probe until the task ends. A probe that cannot be sent is
// reported once and tried again: routes may come yet.
func (p *Prover) send(ctx context.Context, t *dpmipv1.ProofTask, token probe.Token) error {
	to, err := netip.ParseAddr(t.GetDestination())
	if err != nil {
		return fmt.Errorf("destination: %w", err)
	}
	var from netip.Addr
	if t.GetSource() != "" {
		if from, err = netip.ParseAddr(t.GetSource()); err != nil {
			return fmt.Errorf("source: %w", err)
		}
	}
	begun, wait, told := time.Now(), firstRepeat, false
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		if err := p.c.Sender.Send(from, to, token); err != nil && !told {
			told = true
			p.answer(ctx, token, probe.Packet{}, err)
		}
		timer.Reset(wait)
		wait = min(2*wait, lastRepeat)
		if time.Since(begun) > eager {
			wait = patient
		}
	}
}

// catch waits for the task's probe and tells of it.
func (p *Prover) catch(ctx context.Context, t *dpmipv1.ProofTask, token probe.Token) error {
	at, err := netip.ParseAddr(t.GetDestination())
	if err != nil {
		return fmt.Errorf("destination: %w", err)
	}
	if p.c.Catcher == nil {
		return errors.New("nothing can be caught here")
	}
	came := make(chan probe.Packet, 1)
	p.expect(token, func(x probe.Packet) {
		if x.Destination != at {
			return
		}
		select {
		case came <- x:
		default: // once is enough
		}
	})
	defer p.expect(token, nil)
	if err := p.c.Catcher.Catch(ctx, at); err != nil {
		return err
	}
	defer p.c.Catcher.Release(at)
	for {
		select {
		case <-ctx.Done():
			return nil
		case x := <-came: // told again if it comes again: the first answer may be lost
			p.answer(ctx, token, x, nil)
		}
	}
}

// await waits for a host route to come or go, and tells of it.
func (p *Prover) await(ctx context.Context, t *dpmipv1.ProofTask, token probe.Token) error {
	a, err := netip.ParseAddr(t.GetDestination())
	if err != nil {
		return fmt.Errorf("destination: %w", err)
	}
	if p.c.Kernel == nil {
		return errors.New("no routes are known here")
	}
	if err := p.c.Kernel.Await(ctx, a, t.GetAction() == "installed"); err != nil {
		return err
	}
	p.answer(ctx, token, probe.Packet{}, nil)
	return nil
}

func (p *Prover) expect(t probe.Token, f func(probe.Packet)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f == nil {
		delete(p.expects, t)
		return
	}
	p.expects[t] = f
}

// answer tells the management node, again while the task lasts if that fails.
func (p *Prover) answer(ctx context.Context, t probe.Token, x probe.Packet, failed error) {
	r := &dpmipv1.ReportProofRequest{Node: p.c.Node, Token: t[:], Seen: failed == nil}
	if failed != nil {
		r.Detail = failed.Error()
	} else if x.Source.IsValid() {
		r.Source = x.Source.String()
	}
	timer := time.NewTimer(reportRetry)
	defer timer.Stop()
	for {
		call, done := context.WithTimeout(ctx, reportTimeout)
		err := p.c.Management.ReportProof(call, r)
		done()
		if err == nil || ctx.Err() != nil {
			return
		}
		p.c.Log.Debug("a proof cannot be reported", "err", err)
		timer.Reset(reportRetry)
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
	}
}
