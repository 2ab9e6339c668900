package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/dpmip/dpmip/mgmt/store"
	"github.com/dpmip/dpmip/mgmt/store/bolt"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
	"github.com/dpmip/dpmip/mobility/transport"
)

// Size of one round of the registration benchmark.
const (
	registeredVMs = 20_000
	inFlight      = 2048 // Requests that wait for their answers
)

// registrations compares the first registrations of VMs at a real dpmip-mgmt,
// over raw Mobility Headers between two namespaces, both ends on this machine,
// each answered after it is durable, with bbolt alone: the same records, in as
// many transactions.
func registrations(ctx context.Context, o *Options) ([]Figure, error) {
	var written []store.Write
	var batch, commits float64
	ours := func() (float64, error) {
		took, w, n, err := registerMany(ctx, o)
		if err != nil {
			return 0, err
		}
		written, commits = w, float64(n)
		batch = float64(len(w)) / commits
		return perSecond(registeredVMs, took), nil
	}
	alone := func() (float64, error) {
		took, err := writeAlone(o, written, int(batch+0.5))
		return perSecond(registeredVMs, took), err
	}
	s, err := turns(ctx, o.rounds(7), ours, alone)
	if err != nil {
		return nil, err
	}
	return []Figure{
		s[0].over(s[1]).median("durable registrations / bbolt alone", "x").atLeast(0.6).note("%d VMs a round, %.0f records a transaction, in turns", registeredVMs, batch),
		s[0].median("durable registrations, both ends here", "registrations/s"),
		s[1].median("bbolt alone, the same records and transactions", "registrations/s"),
	}, nil
}

// registerMany registers VMs at a fresh management node and tells how long it
// took, what was written, and in how many transactions.
func registerMany(ctx context.Context, o *Options) (took time.Duration, written []store.Write, commits int, err error) {
	m, err := newManagement(o, 1)
	if err != nil {
		return 0, nil, 0, err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	if err := m.launch(ctx); err != nil {
		return 0, nil, 0, err
	}
	h, err := m.registrar(m.fleet[0], registeredVMs)
	if err != nil {
		return 0, nil, 0, err
	}
	took, err = h.run(ctx)
	if err = errors.Join(err, m.process.Stop()); err != nil {
		return 0, nil, 0, err
	}
	written, commits, err = readBack(m.database())
	rng := rand.New(rand.NewPCG(o.Seed, 0)) // the file has sorted what came in no order
	rng.Shuffle(len(written), func(i, j int) { written[i], written[j] = written[j], written[i] })
	return took, written, commits, err
}

// readBack reads what a stopped management node has written.
func readBack(path string) (written []store.Write, commits int, err error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return nil, 0, fmt.Errorf("bench: %w", err)
	}
	err = db.View(func(tx *bbolt.Tx) error { commits = int(tx.ID()); return nil })
	if err = errors.Join(err, db.Close()); err != nil {
		return nil, 0, fmt.Errorf("bench: %w", err)
	}
	s, err := bolt.Open(path)
	if err != nil {
		return nil, 0, err
	}
	err = s.Load(func(r store.Record) error {
		written = append(written, store.Write(r))
		return nil
	})
	return written, commits, errors.Join(err, s.Close())
}

// writeAlone puts records into a new bbolt file, so many in each transaction.
func writeAlone(o *Options, records []store.Write, batch int) (took time.Duration, err error) {
	dir, err := os.MkdirTemp(o.Dir, "dpmip-bench-")
	if err != nil {
		return 0, fmt.Errorf("bench: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s, err := bolt.Open(filepath.Join(dir, "alone.db"))
	if err != nil {
		return 0, err
	}
	start := time.Now()
	for at := 0; at < len(records); at += batch {
		if err := s.Apply(records[at:min(at+batch, len(records))]); err != nil {
			return 0, errors.Join(err, s.Close())
		}
	}
	return time.Since(start), s.Close()
}

// registrar is a hypervisor's end that registers VMs as fast as it is answered.
type registrar struct {
	plan hostPlan
	vms  int
	conn *transport.Conn

	mu        sync.Mutex // guards what follows
	node      *registration.Node
	submitted int
	answered  int
	failed    error
	done      chan struct{}
}

func (m *management) registrar(h hostPlan, vms int) (*registrar, error) {
	conn, err := m.dial(h)
	if err != nil {
		return nil, err
	}
	node, err := registration.NewNode(registration.Config{
		Role: registration.RoleHypervisor, Self: h.Locator, Management: []netip.Addr{mgmtLocator}, Seed: 1, Heartbeat: -1, Retry: time.Second,
	})
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &registrar{plan: h, vms: vms, conn: conn, node: node, done: make(chan struct{})}, nil
}

// run registers all and gives the time from the first Request to the last Reply.
func (r *registrar) run(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	var tasks sync.WaitGroup
	defer func() { cancel(); tasks.Wait(); r.conn.Close() }()
	tasks.Go(func() { _ = r.conn.Run(ctx, func(batch []registration.Inbound) { r.receive(ctx, batch) }) })
	tasks.Go(func() { r.tick(ctx) })
	start := time.Now()
	r.step(ctx, nil)
	select {
	case <-r.done:
	case <-ctx.Done():
		return 0, fmt.Errorf("bench: %d of %d VMs are registered: %w", r.answered, r.vms, ctx.Err())
	}
	return time.Since(start), r.failed
}

func (r *registrar) tick(ctx context.Context) {
	t := time.NewTicker(50 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			r.step(ctx, func(out []registration.Effect) []registration.Effect { return r.node.Tick(time.Now(), out) })
		}
	}
}

func (r *registrar) receive(ctx context.Context, batch []registration.Inbound) {
	r.step(ctx, func(out []registration.Effect) []registration.Effect {
		for _, in := range batch {
			out = r.node.Receive(time.Now(), in, out)
		}
		return out
	})
}

// step lets something happen, submits more where there is room, and sends.
func (r *registrar) step(ctx context.Context, happens func([]registration.Effect) []registration.Effect) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var effects []registration.Effect
	if happens != nil {
		effects = happens(nil)
	}
	var sends []registration.Send
	for _, e := range effects {
		sends = r.carry(e, sends)
	}
	for r.submitted < r.vms && r.submitted-r.answered < inFlight {
		r.submitted++
		for _, e := range r.node.Submit(time.Now(), registration.Token(r.submitted), mgmtLocator, r.request(r.submitted), nil) {
			sends = r.carry(e, sends)
		}
	}
	if err := r.conn.Send(ctx, sends); err != nil && ctx.Err() == nil {
		r.end(err)
	}
}

func (r *registrar) carry(e registration.Effect, sends []registration.Send) []registration.Send {
	switch e := e.(type) {
	case registration.Send:
		return append(sends, e)
	case registration.Replied:
		if e.Reply.Status != mobility.StatusAccepted {
			r.end(fmt.Errorf("bench: registration %d was refused: %v", e.Token, e.Reply.Status))
		}
		if r.answered++; r.answered == r.vms {
			r.end(nil)
		}
	}
	return sends
}

// end ends the run, once.
func (r *registrar) end(err error) {
	select {
	case <-r.done:
	default:
		r.failed = err
		close(r.done)
	}
}

// request is the first registration of the i-th VM of a hypervisor.
func (r *registrar) request(i int) registration.Request {
	return registration.Request{
		VM: vmName(i), MAC: mobility.MAC{2, 0, 0, byte(i >> 16), byte(i >> 8), byte(i)},
		Handoff: mobility.HandoffNew, Lifetime: 900, Slots: []netip.Addr{r.plan.address(i)},
	}
}

// vmName is the identifier of the i-th VM: in no order, as those of a data
// centre are.
func vmName(i int) mobility.VMID {
	return mobility.NAI(fmt.Sprintf("vm-%016x@dc1.example", uint64(i)*0x9e3779b97f4a7c15))
}

// address is the i-th VM's, in the hypervisor's range.
func (h hostPlan) address(i int) netip.Addr {
	a := h.Range.Addr().As16()
	a[13], a[14], a[15] = byte(i>>16), byte(i>>8), byte(i)
	return netip.AddrFrom16(a)
}
