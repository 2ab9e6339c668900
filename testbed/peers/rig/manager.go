package rig

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
	"github.com/dpmip/dpmip/mobility/transport"
	"github.com/dpmip/dpmip/mobility/wire"
)

// SPIs and key between management node and router.
const (
	spiToMgmt   = 4101
	spiToRouter = 4102
)

var secret = []byte("a key of the testbed, 32 bytes...")[:32]

// Manager is the management node's half of the protocol towards the router: it
// sends Requests for host routes and waits for their Replies.
type Manager struct {
	conn *transport.Conn
	stop context.CancelFunc
	done chan struct{}

	mu    sync.Mutex // guards the fields below
	node  *registration.Node
	token registration.Token
	open  map[registration.Token]chan registration.Reply
	wake  chan struct{}
}

// Manage starts the management node.
func (w *World) Manage() (*Manager, error) {
	dir, err := w.Dir("mgmt")
	if err != nil {
		return nil, err
	}
	node, err := registration.NewNode(registration.Config{
		Role: registration.RoleManagement, Self: MgmtLocator, Retry: 20 * time.Millisecond, MaxRetry: time.Second, Heartbeat: -1, Seed: 1,
	})
	if err != nil {
		return nil, err
	}
	m := &Manager{node: node, open: map[registration.Token]chan registration.Reply{}, wake: make(chan struct{}, 1), done: make(chan struct{})}
	err = w.Mgmt.Do(func() (err error) {
		m.conn, err = transport.Open(transport.Config{Locators: []netip.Addr{MgmtLocator}, LockDir: dir})
		return err
	})
	if err != nil {
		return nil, err
	}
	table, err := transport.NewTable([]transport.Peer{{
		Addr:    TORLocator,
		Receive: []transport.Key{{SPI: spiToMgmt, Algorithm: wire.HMACSHA256, Secret: secret}},
		Send:    transport.Key{SPI: spiToRouter, Algorithm: wire.HMACSHA256, Secret: secret},
	}}, false)
	if err != nil {
		m.conn.Close()
		return nil, err
	}
	m.conn.SetPeers(table)
	ctx, cancel := context.WithCancel(context.Background())
	m.stop = cancel
	go m.run(ctx)
	return m, nil
}

// Close ends it.
func (m *Manager) Close() error {
	m.stop()
	<-m.done
	return m.conn.Close()
}

func (m *Manager) run(ctx context.Context) {
	defer close(m.done)
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		_ = m.conn.Run(ctx, func(batch []registration.Inbound) {
			m.mu.Lock()
			defer m.mu.Unlock()
			for _, in := range batch {
				m.carryOut(ctx, m.node.Receive(time.Now(), in, nil))
			}
		})
	}()
	for {
		timer := time.NewTimer(m.next())
		select {
		case <-ctx.Done():
			timer.Stop()
			<-heard
			return
		case <-m.wake:
		case <-timer.C:
			m.mu.Lock()
			m.carryOut(ctx, m.node.Tick(time.Now(), nil))
			m.mu.Unlock()
		}
		timer.Stop()
	}
}

func (m *Manager) next() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, ok := m.node.Next()
	if !ok {
		return time.Hour
	}
	return max(0, time.Until(at))
}

// carryOut is called with mu held.
func (m *Manager) carryOut(ctx context.Context, effects []registration.Effect) {
	var sends []registration.Send
	for _, e := range effects {
		switch e := e.(type) {
		case registration.Send:
			sends = append(sends, e)
		case registration.Replied:
			if ch := m.open[e.Token]; ch != nil {
				delete(m.open, e.Token)
				ch <- e.Reply
			}
		}
	}
	if len(sends) > 0 {
		_ = m.conn.Send(ctx, sends) // what is lost is sent again
	}
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// MaxPairs is how many addresses one Request may have.
const MaxPairs = 16

// Routes asks for host routes of a VM's addresses towards the hypervisor, or
// with a zero lifetime for their withdrawal, and returns the Reply's status.
func (m *Manager) Routes(ctx context.Context, vm string, epoch mobility.Epoch, life time.Duration, addrs ...netip.Addr) (mobility.Status, error) {
	ch, err := m.Submit(ctx, vm, epoch, life, addrs...)
	if err != nil {
		return 0, err
	}
	select {
	case r := <-ch:
		return r.Status, nil
	case <-ctx.Done():
		return 0, fmt.Errorf("rig: no Reply for %s: %w", vm, ctx.Err())
	}
}

// Submit is Routes without the wait.
func (m *Manager) Submit(ctx context.Context, vm string, epoch mobility.Epoch, life time.Duration, addrs ...netip.Addr) (<-chan registration.Reply, error) {
	if len(addrs) > MaxPairs {
		return nil, fmt.Errorf("rig: %d addresses in one Request, want at most %d", len(addrs), MaxPairs)
	}
	req := registration.Request{
		VM: mobility.NAI(vm + "@dc1.example"), Handoff: mobility.HandoffMove, Lifetime: mobility.LifetimeOf(life), CareOf: HV6, Epoch: epoch,
		Move: mobility.MoveOptions{Mode: mobility.ModeHot, Addresses: mobility.AddressesKeep, Redirect: mobility.RedirectRouted, New: mobility.PolicyRedirect, Phase: mobility.PhaseCommit},
	}
	for _, a := range addrs {
		req.Pairs = append(req.Pairs, mobility.Pair{Old: a, New: a})
		if a.Is4() {
			req.Locator4 = HV4
		}
	}
	ch := make(chan registration.Reply, 1)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.token++
	m.open[m.token] = ch
	m.carryOut(ctx, m.node.Submit(time.Now(), m.token, TORLocator, req, nil))
	return ch, nil
}
