package switchdev

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"github.com/dpmip/dpmip/hwabstraction/switchdev/flower"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/tc"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/ways"
)

// Defaults of Config.
const (
	DefaultQuiet = 100 * time.Millisecond
	DefaultAudit = 10 * time.Second
	DefaultClimb = 30 * time.Second
)

// Table is where filters are: tc.Conn, or a test's. Its methods may be called
// concurrently; a List that takes long must not keep an Apply waiting.
type Table interface {
	Attach(port int32) error
	Apply(ctx context.Context, requests []tc.Request) []error
	// List reads all filters of a port, ListChain those of one chain.
	List(ctx context.Context, port int32) ([]flower.Status, error)
	ListChain(ctx context.Context, port int32, chain uint32) ([]flower.Status, error)
}

// Kernel says where packets go: ways.Kernel, or a test's.
type Kernel interface {
	Port(name string) (ways.Port, error)
	Hop(to netip.Addr) (ways.Hop, error)
	Exit(ipv4 bool) (ways.Exit, error)
	// Changed has a value when something of that may be another since the last
	// time: a link, a route, a neighbour.
	Changed() <-chan struct{}
}

// Config is what Open needs. Fabric, Table and Kernel are mandatory; zero fields
// mean the defaults.
type Config struct {
	Fabric []string // uplinks, by the names of their interfaces
	Table  Table
	Kernel Kernel
	// Eswitch tells why the e-switch behind the uplinks takes no filters, and what
	// to do about it; "" = it does. An error means that it cannot be told. It is
	// asked whenever the kernel has changed, and at every audit, by one goroutine
	// that switches nothing, so that it may block; nil = there is no e-switch.
	Eswitch func() (lost string, err error)
	// SkipHW keeps every filter in the kernel: for ports without an e-switch.
	SkipHW bool
	// Quiet is how long nothing must have been held before a delivery becomes
	// fast: what was released has then gone.
	Quiet time.Duration
	// Audit is how often filters are compared with what should be there.
	Audit time.Duration
	// Climb is after how long a refused filter is tried again, at first; later
	// it doubles, up to 20 times as long.
	Climb time.Duration
	Log   *slog.Logger // nil = silent
}

func (c Config) defaults() (Config, error) {
	switch {
	case len(c.Fabric) == 0:
		return c, errors.New("switchdev: no fabric port")
	case c.Table == nil || c.Kernel == nil:
		return c, errors.New("switchdev: neither table nor kernel may be missing")
	}
	for _, d := range []struct {
		p *time.Duration
		v time.Duration
	}{{&c.Quiet, DefaultQuiet}, {&c.Audit, DefaultAudit}, {&c.Climb, DefaultClimb}} {
		if *d.p == 0 {
			*d.p = d.v
		}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c, nil
}
