package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dpmip/dpmip/mgmt"
	"github.com/dpmip/dpmip/mgmt/inventory"
	"github.com/dpmip/dpmip/mgmt/store"
	"github.com/dpmip/dpmip/mobility/registration"
)

// Sender sends messages; mobility/transport implements it.
type Sender interface {
	Send(ctx context.Context, msgs []registration.Send) error
}

// ErrStopping is returned to callers while the loop ends.
var ErrStopping = errors.New("server: the management node is stopping")

// maxBatch bounds the writes of one transaction: beyond a few thousand a
// transaction grows slower than it saves.
const maxBatch = 4096

// Loop owns the Core. Everything else sends it work.
type Loop struct {
	core    *mgmt.Core
	store   store.Store
	log     *slog.Logger
	metrics *Metrics
	watch   watchers
	names   *Names // nil = no DNS
	provers map[string]*proverStream

	work    chan func()
	ready   chan struct{}
	stopped chan struct{}
	first   []mgmt.Effect

	out     outgoing
	commits []mgmt.Commit // not handed to the writer yet
	writing []mgmt.Commit // with the writer
	asked   time.Time     // when writing was handed over
	done    map[mgmt.CommandID]func(mgmt.Done)
	next    mgmt.CommandID
}

// NewLoop makes the task that runs core; first is what mgmt.New wants done.
func NewLoop(core *mgmt.Core, first []mgmt.Effect, s store.Store, send Sender, log *slog.Logger, m *Metrics) *Loop {
	return &Loop{core: core, first: first, store: s, out: newOutgoing(send, log), log: log, metrics: m, watch: watchers{}, provers: map[string]*proverStream{},
		work: make(chan func()), ready: make(chan struct{}), stopped: make(chan struct{}), done: map[mgmt.CommandID]func(mgmt.Done){}}
}

func (l *Loop) String() string { return "management loop" }

// Ready is closed when the loop takes work.
func (l *Loop) Ready() <-chan struct{} { return l.ready }

// Run owns the Core until ctx ends; what the writer has then is finished.
func (l *Loop) Run(ctx context.Context) error {
	batches, results := make(chan []store.Write, 1), make(chan error, 1)
	var aside sync.WaitGroup
	aside.Go(func() {
		for w := range batches {
			results <- l.store.Apply(w)
		}
	})
	aside.Go(func() { l.out.run(ctx) })
	defer func() {
		close(batches)
		close(l.out.work)
		aside.Wait()
		close(l.stopped)
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	l.effects(l.first)
	close(l.ready)
	for {
		l.flush(ctx, batches)
		timer.Reset(l.untilNext())
		select {
		case <-ctx.Done():
			return nil
		case f := <-l.work:
			f()
		case sent := <-l.out.done:
			l.out.finished(sent)
		case err := <-results:
			l.written(ctx, batches, err)
		case <-timer.C:
			l.step(mgmt.Tick{})
		}
	}
}

func (l *Loop) untilNext() time.Duration {
	at, ok := l.core.Next()
	if !ok {
		return time.Hour
	}
	return max(0, time.Until(at))
}

func (l *Loop) step(e mgmt.Event) { l.effects(l.core.Step(time.Now(), e)) }

// effects sorts what the Core wants into what leaves at once and what waits for
// the writer.
func (l *Loop) effects(effects []mgmt.Effect) {
	for _, e := range effects {
		switch e := e.(type) {
		case mgmt.Commit:
			l.commits = append(l.commits, e)
		case mgmt.Send:
			l.out.next = append(l.out.next, e.Send)
		case mgmt.Done:
			if f := l.done[e.ID]; f != nil {
				delete(l.done, e.ID)
				f(e)
			}
		case mgmt.Prove:
			l.prove(e)
		case mgmt.MoveChanged:
			l.metrics.moveChanged(e.Move)
			l.watch.tell(e.Move)
		case mgmt.PublishNames:
			l.publish(e)
		case mgmt.Count:
			l.metrics.count(e)
		case mgmt.Note:
			l.note(e)
		}
	}
}

func (l *Loop) note(n mgmt.Note) {
	level := slog.LevelInfo
	switch {
	case n.Warning:
		level = slog.LevelWarn
	case n.Debug:
		level = slog.LevelDebug
	}
	var attrs []slog.Attr
	if !n.VM.IsZero() {
		attrs = append(attrs, slog.String("vm", n.VM.String()))
	}
	if n.Peer != "" {
		attrs = append(attrs, slog.String("peer", n.Peer))
	}
	if n.Epoch != 0 {
		attrs = append(attrs, slog.Uint64("epoch", uint64(n.Epoch)))
	}
	l.log.LogAttrs(context.Background(), level, n.Text, attrs...)
}

// flush sends what is to be sent and, when the writer is free, gives it all that
// has gathered meanwhile: the group commit.
func (l *Loop) flush(ctx context.Context, batches chan<- []store.Write) {
	l.out.flush(ctx)
	if len(l.writing) > 0 || len(l.commits) == 0 {
		return
	}
	var writes []store.Write
	n := 0
	for n < len(l.commits) && (n == 0 || len(writes)+len(l.commits[n].Writes) <= maxBatch) {
		writes = append(writes, l.commits[n].Writes...)
		n++
	}
	l.writing, l.commits = l.commits[:n:n], l.commits[n:]
	l.asked = time.Now()
	batches <- writes
}

// written takes the writer's result, and gives it the next group before the
// answers that this one releases are worked out. After a failure nothing that
// was decided since is durable either: the Core takes all of it back.
func (l *Loop) written(ctx context.Context, batches chan<- []store.Write, err error) {
	batch := l.writing
	l.writing = nil
	l.metrics.written(len(batch), time.Since(l.asked))
	if err != nil {
		l.commits = nil
		l.step(mgmt.CommitFailed{From: batch[0].ID, Err: err})
		return
	}
	l.flush(ctx, batches)
	l.step(mgmt.Committed{Through: batch[len(batch)-1].ID})
}

// Do runs f in the loop, which must not block, and waits for it.
func (l *Loop) Do(ctx context.Context, f func(*mgmt.Core)) error {
	done := make(chan struct{})
	select {
	case l.work <- func() { defer close(done); f(l.core) }:
		<-done
		return nil
	case <-ctx.Done():
		return fmt.Errorf("server: %w", ctx.Err())
	case <-l.stopped:
		return ErrStopping
	}
}

// Command gives a command to the Core and waits until what it changed is
// durable. make gets the identifier that the command must carry.
func (l *Loop) Command(ctx context.Context, make func(mgmt.CommandID) mgmt.Event) (mgmt.Done, error) {
	result := newResult()
	err := l.Do(ctx, func(*mgmt.Core) {
		l.next++
		l.done[l.next] = func(d mgmt.Done) { result <- d }
		l.step(make(l.next))
	})
	if err != nil {
		return mgmt.Done{}, err
	}
	select {
	case d := <-result:
		return d, d.Err
	case <-ctx.Done():
		return mgmt.Done{}, fmt.Errorf("server: %w", ctx.Err())
	case <-l.stopped:
		return mgmt.Done{}, ErrStopping
	}
}

func newResult() chan mgmt.Done { return make(chan mgmt.Done, 1) }

// Handle gives received messages to the Core and returns when they are decided;
// their memory need not live longer.
func (l *Loop) Handle(ctx context.Context, batch []registration.Inbound) {
	_ = l.Do(ctx, func(*mgmt.Core) { // at the end they are lost, as messages may be
		for _, in := range batch {
			l.step(mgmt.Received{Inbound: in})
		}
	})
}

// Unreachable tells the Core that nobody listens at a peer.
func (l *Loop) Unreachable(ctx context.Context, to netip.Addr) {
	_ = l.Do(ctx, func(*mgmt.Core) { l.step(mgmt.Unreachable{To: to}) })
}

// SetInventory puts another inventory in force, unless a hypervisor that still
// serves a VM is missing in it.
func (l *Loop) SetInventory(ctx context.Context, inv *inventory.Inventory) error {
	var serving []string
	err := l.Do(ctx, func(c *mgmt.Core) {
		for name := range c.Inventory().Hypervisors {
			if inv.Hypervisors[name] == nil && len(c.Bindings(name, "", 1)) > 0 {
				serving = append(serving, name)
			}
		}
		if len(serving) == 0 {
			l.step(mgmt.InventoryChanged{Inventory: inv})
		}
	})
	if err == nil && len(serving) > 0 {
		slices.Sort(serving)
		err = fmt.Errorf("%s: missing, but VMs still run there: evacuate first", strings.Join(serving, ", "))
	}
	return err
}
