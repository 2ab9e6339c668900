package transport

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/dpmip/dpmip/mobility/registration"
)

// Port is the UDP port of the IPv4 underlay, on both ends.
const Port = 5436

// Config configures a Conn.
type Config struct {
	// Locators are the node's own: one IPv6 address (raw protocol 135), one IPv4
	// address (UDP 5436), or both.
	Locators []netip.Addr
	// LockDir is where the lock files of the locators lie. It is per node: two
	// nodes in two network namespaces need two directories. Within one namespace
	// two directories admit nobody else to a locator.
	LockDir string
	// Beside lets a lab speak with the voice of a locator that another process of
	// this network namespace serves: only LockDir then excludes others. No daemon
	// sets it.
	Beside bool
	// Device binds the sockets to one interface (SO_BINDTODEVICE); "" = any.
	Device string
	// FreeBind allows a locator that no interface has yet.
	FreeBind bool
	// ReceiveBuffer is the size of each receive buffer in bytes, default 4 MiB.
	// It may pass the system's limit (SO_RCVBUFFORCE).
	ReceiveBuffer int
	// Batch is how many messages one system call takes, default 64.
	Batch int
	// Enterprise is the number in vendor options, default 32473.
	Enterprise uint32
	Limits     Limits
	// Unreachable is told that nobody listens at a peer. It is called from Run,
	// between batches, and must not block on Run. May be nil.
	Unreachable func(netip.Addr)
}

// Handler takes a batch of messages of allow-listed peers. They are valid until
// it returns. A message of a type that is not ours comes with an empty Message.
type Handler func(batch []registration.Inbound)

// Conn is a node's sockets. Its methods may be called from any goroutine, Run
// once.
type Conn struct {
	cfg      Config
	sockets  []*socket
	locks    []*os.File
	table    atomic.Pointer[Table]
	counters *counters
	handling sync.Mutex // one batch at a time reaches the handler
}

// Open locks the locators and opens their sockets. Nothing is accepted before
// SetPeers. The error wraps ErrLocked when another process serves a locator.
func Open(cfg Config) (*Conn, error) {
	if len(cfg.Locators) == 0 || cfg.LockDir == "" {
		return nil, errors.New("transport: config: locators and lock directory are needed")
	}
	if cfg.ReceiveBuffer == 0 {
		cfg.ReceiveBuffer = 4 << 20
	}
	if cfg.Batch <= 0 {
		cfg.Batch = 64
	}
	cfg.Limits = cfg.Limits.withDefaults()
	c := &Conn{cfg: cfg, counters: newCounters()}
	c.table.Store(&Table{})
	for _, a := range cfg.Locators {
		if err := c.open(a.Unmap()); err != nil {
			c.Close()
			return nil, err
		}
	}
	return c, nil
}

func (c *Conn) open(a netip.Addr) error {
	for _, s := range c.sockets {
		if s.local.Is4() == a.Is4() {
			return fmt.Errorf("transport: locators %s and %s are of one family", s.local, a)
		}
	}
	f, err := lock(c.cfg.LockDir, a)
	if err != nil {
		return err
	}
	c.locks = append(c.locks, f)
	if !c.cfg.Beside {
		if f, err = claim(a); err != nil {
			return err
		}
		c.locks = append(c.locks, f)
	}
	s, err := openSocket(&c.cfg, a)
	if err != nil {
		return err
	}
	c.sockets = append(c.sockets, s)
	return nil
}

// Close closes the sockets and gives the locators back. Run ends.
func (c *Conn) Close() error {
	var errs []error
	for _, s := range c.sockets {
		errs = append(errs, s.pc.Close())
	}
	for _, f := range c.locks {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// SetPeers puts another allow-list in force, for messages that come in or go out
// from now on.
func (c *Conn) SetPeers(t *Table) { c.table.Store(t) }

// Counters gives every counter by its stable name.
func (c *Conn) Counters() map[string]uint64 { return c.counters.snapshot() }

// String names the task.
func (c *Conn) String() string {
	var names []string
	for _, a := range c.cfg.Locators {
		names = append(names, a.String())
	}
	return "transport " + strings.Join(names, " ")
}

// Run delivers what comes in to h, one batch at a time, until ctx is done (nil)
// or a socket fails.
func (c *Conn) Run(ctx context.Context, h Handler) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, s := range c.sockets {
		g.Go(func() error { return c.serve(ctx, s, h) })
	}
	return g.Wait()
}

// serve reads one socket.
func (c *Conn) serve(ctx context.Context, s *socket, h Handler) error {
	stop := context.AfterFunc(ctx, s.wake)
	defer stop()
	for {
		n, err := s.batch.ReadBatch(s.in, 0)
		switch {
		case err == nil:
			c.deliver(s, s.in[:n], h)
			continue
		case isTimeout(err):
			s.awake()
		case !isPathError(err):
			return c.ended(ctx, s, err)
		}
		if ctx.Err() != nil {
			return nil
		}
		c.drain(s)
	}
}

func (c *Conn) ended(ctx context.Context, s *socket, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("transport: %s: %w", s.local, err)
}

// drain empties the socket's error queue and tells who does not listen.
func (c *Conn) drain(s *socket) {
	table := c.table.Load()
	s.errors(func(to netip.Addr, refused bool) {
		if !refused || table.peers[to] == nil {
			c.counters.add(pathError)
			return
		}
		c.counters.add(peerUnreachable)
		if c.cfg.Unreachable != nil {
			c.handling.Lock()
			c.cfg.Unreachable(to)
			c.handling.Unlock()
		}
	})
}
