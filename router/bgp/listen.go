package bgp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"
)

// MissingError says that nothing can be listened on because addresses are not
// this node's, or are not confirmed yet (duplicate address detection). Start may
// be called again.
type MissingError struct{ Addrs []netip.Addr }

func (e *MissingError) Error() string {
	names := make([]string, len(e.Addrs))
	for i, a := range e.Addrs {
		names[i] = a.String()
	}
	return fmt.Sprintf("bgp: listen: %s: not an address of this node (yet)", strings.Join(names, ", "))
}

// listenRetry is how often a Border that waits for its addresses looks again.
const listenRetry = time.Second

// missing lists the addresses that cannot be bound because the node does not have
// them. Other errors are left to who listens.
func missing(ctx context.Context, as []netip.Addr) *MissingError {
	var out MissingError
	for _, a := range as {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", netip.AddrPortFrom(a, 0).String())
		if err == nil {
			l.Close()
		} else if errors.Is(err, syscall.EADDRNOTAVAIL) {
			out.Addrs = append(out.Addrs, a)
		}
	}
	if len(out.Addrs) == 0 {
		return nil
	}
	return &out
}
