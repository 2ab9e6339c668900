package main

import (
	"context"
	"errors"
	"net/netip"

	"github.com/vishvananda/netlink"

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
	return prover.New(prover.Config{Node: d.cfg.Report.Name, Management: c, Sender: s, Kernel: kernel{d.journal, d.lookup}, Log: d.log}), s, nil
}

// kernel is the prover's view of the FIB.
type kernel struct {
	journal *fib.Journal
	lookup  *netlink.Handle
}

// Await waits until a usable host route of the address is there, or is not,
// whoever has installed it.
func (k kernel) Await(ctx context.Context, a netip.Addr, installed bool) error {
	for {
		changed := k.journal.Changed()
		if there, err := k.has(a); err != nil || there == installed {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// has reports whether it is there now.
func (k kernel) has(a netip.Addr) (bool, error) {
	q := &question{prefix: netip.PrefixFrom(a, a.BitLen())}
	found, err := fib.Lookup(k.lookup, a)
	if err != nil && !errors.Is(err, fib.ErrNoNextHop) {
		return false, err
	}
	return q.match(found), nil
}
