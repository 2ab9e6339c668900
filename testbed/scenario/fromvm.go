package scenario

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/dpmip/dpmip/testbed/traffic"
)

// fromVM lets the VM open connections to its peer, over TCP and UDP, without
// telling it which address to use: it must take one that it has now.
func (r *run) fromVM(ctx context.Context, m *move) {
	for _, fam := range r.o.families() {
		peer := r.end(m.peer, fam, portFromVM)
		s, err := traffic.Serve(ctx, peer.NS, peer.Addr)
		if err != nil {
			r.problem("%s: %v", m, err)
			continue
		}
		for _, network := range []string{"tcp", "udp"} {
			for range 3 {
				if err := r.open(ctx, network, peer.Addr); err != nil {
					r.problem("%s: the VM opens %s to %s: %v", m, network, peer.Addr, err)
					break
				}
			}
		}
		s.Close()
	}
}

// open is one connection that the VM opens.
func (r *run) open(ctx context.Context, network string, to netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(ctx, r.o.slow(time.Second))
	defer cancel()
	c, err := r.dc.Lab.Node(mover).NS.Dial(ctx, &net.Dialer{}, network, to.String())
	if err != nil {
		return err
	}
	defer c.Close()
	from, err := netip.ParseAddrPort(c.LocalAddr().String())
	if err != nil {
		return err
	}
	if !slices.Contains(r.slots, from.Addr()) {
		return fmt.Errorf("it uses %s, its addresses are %v", from.Addr(), r.slots)
	}
	deadline, _ := ctx.Deadline()
	if err := c.SetDeadline(deadline); err != nil {
		return err
	}
	if network == "udp" {
		if _, err := c.Write([]byte("hello")); err != nil {
			return err
		}
	}
	if _, err := io.ReadAtLeast(c, make([]byte, 64), 1); err != nil {
		return fmt.Errorf("from %s: %w", from, err)
	}
	return nil
}
