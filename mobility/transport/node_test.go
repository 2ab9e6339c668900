package transport

import (
	"bytes"
	"context"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
)

// engine runs a registration.Node over a Conn, without timers. It accepts
// whatever is asked.
type engine struct {
	*Conn
	t       *testing.T
	mu      sync.Mutex // guards node and kept
	node    *registration.Node
	kept    [][]byte // Requests as received
	effects chan registration.Effect
}

func startEngine(t *testing.T, s *space, cfg registration.Config, tab *Table) *engine {
	t.Helper()
	e := &engine{t: t, effects: make(chan registration.Effect, 1000)}
	var err error
	if e.node, err = registration.NewNode(cfg); err != nil {
		t.Fatal(err)
	}
	lockDir := t.TempDir()
	s.do(func() { e.Conn, err = Open(Config{Locators: []netip.Addr{cfg.Self}, LockDir: lockDir}) })
	if err != nil {
		t.Fatal(err)
	}
	e.SetPeers(tab)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- e.Run(ctx, e.receive) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		e.Close()
	})
	return e
}

func (e *engine) receive(batch []registration.Inbound) {
	for _, in := range batch {
		e.step(func(now time.Time) []registration.Effect {
			e.kept = append(e.kept, bytes.Clone(in.Bytes))
			return e.node.Receive(now, in, nil)
		})
	}
}

func (e *engine) step(f func(time.Time) []registration.Effect) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	todo := f(now)
	for len(todo) > 0 {
		next := todo[0]
		todo = todo[1:]
		switch v := next.(type) {
		case registration.Send:
			if err := e.Send(context.Background(), []registration.Send{v}); err != nil {
				e.t.Errorf("send: %v", err)
			}
		case registration.Ask:
			todo = e.node.Answer(now, v.Handle, registration.Reply{Lifetime: v.Request.Lifetime, Slots: v.Request.Slots}, todo)
		}
		e.effects <- next
	}
}

// await gives the first effect of a type from now on.
func await[E registration.Effect](t *testing.T, e *engine) E {
	t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case v := <-e.effects:
			if got, ok := v.(E); ok {
				return got
			}
		case <-deadline:
			var want E
			t.Fatalf("no %T; counters %v", want, nonZero(e.Counters()))
		}
	}
}

func awaitCount(t *testing.T, e *engine, name string) {
	t.Helper()
	for await[registration.Count](t, e).Name != name {
	}
}

func TestRegistrationOnRealPackets(t *testing.T) {
	t.Parallel()
	s := newSpace(t, all...)
	m := startEngine(t, s, registration.Config{Role: registration.RoleManagement, Self: addrM, Seed: 1}, managementTable(t))
	a := startEngine(t, s, registration.Config{
		Role: registration.RoleHypervisor, Self: addrA, Management: []netip.Addr{addrM}, Seed: 2}, tableOfA(t))
	r := registration.Request{VM: mobility.NAI("vm1@dc1.example"), Handoff: mobility.HandoffNew, Lifetime: 900,
		Slots: []netip.Addr{netip.MustParseAddr("2001:db8:a:100::42")}}

	a.step(func(now time.Time) []registration.Effect { return a.node.Watch(now, addrM, nil) })
	await[registration.ClockOffset](t, a)
	await[registration.PeerUp](t, a)
	a.step(func(now time.Time) []registration.Effect { return a.node.Submit(now, 1, addrM, r, nil) })
	if got := await[registration.Replied](t, a); got.Reply.Status != 0 || got.Reply.Lifetime != 900 || got.Token != 1 {
		t.Errorf("replied %+v", got)
	}

	// Replayed: the same bytes from the same address get the cached Reply, and
	// nothing is asked again.
	m.mu.Lock()
	captured := m.kept[len(m.kept)-1]
	m.mu.Unlock()
	injector(t, s, addrA)(addrM, captured)
	awaitCount(t, m, registration.CountRequestRepeated)
	awaitCount(t, a, registration.CountReplyNotOutstanding)
	a.step(func(now time.Time) []registration.Effect { return a.node.Submit(now, 2, addrM, r, nil) })
	await[registration.Replied](t, a)
	injector(t, s, addrA)(addrM, captured)
	awaitCount(t, m, registration.CountRequestOlder)

	// Forged: refused with 146, which A does not take for an answer.
	forged := bytes.Clone(captured)
	forged[7]++ // sequence
	injector(t, s, addrA)(addrM, forged)
	awaitCount(t, m, registration.CountRequestAuthFailed)
	awaitCount(t, a, registration.CountReplyNotOutstanding)

	// A type that nobody knows: Binding Error 2.
	unknown := bytes.Clone(captured)
	unknown[2] = 99
	injector(t, s, addrA)(addrM, unknown)
	awaitCount(t, m, registration.CountBindingErrorSent)
	awaitCount(t, a, registration.CountBindingErrorReceived)
}
