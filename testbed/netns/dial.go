package netns

import (
	"context"
	"net"
)

// DialContext dials from inside the namespace; it has the shape that
// http.Transport wants. The address must be literal.
func (n *NS) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return n.Dial(ctx, &net.Dialer{}, network, address)
}

// Dial dials with the caller's dialer from inside the namespace.
func (n *NS) Dial(ctx context.Context, d *net.Dialer, network, address string) (c net.Conn, err error) {
	err = n.Do(func() error {
		c, err = d.DialContext(ctx, network, address)
		return err
	})
	return c, err
}

// Listen listens inside the namespace.
func (n *NS) Listen(ctx context.Context, network, address string) (l net.Listener, err error) {
	err = n.Do(func() error {
		l, err = (&net.ListenConfig{}).Listen(ctx, network, address)
		return err
	})
	return l, err
}
