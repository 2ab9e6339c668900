package main

import (
	"context"
	"errors"
	"net/netip"

	"github.com/dpmip/dpmip/internal/probe"
	"github.com/dpmip/dpmip/internal/prover"
	"github.com/dpmip/dpmip/mgmtclient"
	"github.com/dpmip/dpmip/router/fib"
)

// newProver makes this router take part in proofs: it sends probes and tells
// what its kernel has. The caller closes the socket.
func newProver(d *daemon, c *mgmtclient.Client) (*prover.Prover, *probe.Socket, error) {
	s, err := probe.Open()
	if err != nil {
		return nil, nil, err
	}
	return prover.New(prover.Config{Node: d.cfg.Report.Name, Management: c, Sender: s, Kernel: kernel{d}, Log: d.log}), s, nil
}

// kernel is the prover's view of the FIB.
type kernel struct{ d *daemon }

// Await waits until a usable host route of the address is there, or is not,
// whoever has installed it.
func (k kernel) Await(ctx context.Context, a netip.Addr, installed bool) error {
	q := &question{prefix: netip.PrefixFrom(a, a.BitLen())}
	for {
		changed := k.d.journal.Changed()
		found, err := fib.Lookup(k.d.lookup, a)
		if err != nil && !errors.Is(err, fib.ErrNoNextHop) {
			return err
		}
		if q.match(found) == installed {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
