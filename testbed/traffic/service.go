package traffic

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/dpmip/dpmip/testbed/netns"
)

// greeting is what a Service says to whoever reaches it.
var greeting = []byte("dpmip-lab\n")

// Service answers new connections at an address: TCP ones and UDP datagrams
// get a greeting. It is what Attempts try to reach.
type Service struct {
	tcp     net.Listener
	udp     net.PacketConn
	running sync.WaitGroup
}

// Serve starts a Service inside the namespace.
func Serve(ctx context.Context, ns *netns.NS, addr netip.AddrPort) (*Service, error) {
	s := &Service{}
	l, err := ns.Listen(ctx, "tcp", addr.String())
	if err != nil {
		return nil, fmt.Errorf("traffic: service: %w", err)
	}
	s.tcp = l
	err = ns.Do(func() error {
		s.udp, err = net.ListenPacket("udp", addr.String())
		return err
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("traffic: service: %w", err), l.Close())
	}
	s.running.Go(s.greetTCP)
	s.running.Go(s.greetUDP)
	return s, nil
}

// Close ends the service.
func (s *Service) Close() error {
	err := errors.Join(s.tcp.Close(), s.udp.Close())
	s.running.Wait()
	return err
}

func (s *Service) greetTCP() {
	for {
		c, err := s.tcp.Accept()
		if err != nil {
			return
		}
		_, _ = c.Write(greeting)
		c.Close()
	}
}

func (s *Service) greetUDP() {
	buf := make([]byte, 2048)
	for {
		_, from, err := s.udp.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			_, _ = s.udp.WriteTo(greeting, from)
		}
	}
}
