package traffic

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/testbed/guest"
	"github.com/dpmip/dpmip/testbed/netns"
)

// Endpoint is a place that sends and receives.
type Endpoint struct {
	NS   *netns.NS
	Addr netip.AddrPort
	Gate *guest.Gate // nil unless the endpoint is in a VM that may be paused
}

// At returns the endpoint at another port.
func (e Endpoint) At(port uint16) Endpoint {
	e.Addr = netip.AddrPortFrom(e.Addr.Addr(), port)
	return e
}

// bufferSize is what sockets get: frames that a hold keeps stay charged to the
// sender, and a receiver may lag for as long as the machine is busy.
const bufferSize = 64 << 20

// udpSocket makes a blocking UDP socket in the namespace, bound to local and
// connected to remote. Its reads return EAGAIN every receiveTick.
func udpSocket(ns *netns.NS, local, remote netip.AddrPort) (fd int, err error) {
	err = ns.Do(func() error {
		fd, err = unix.Socket(family(local), unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return -1, fmt.Errorf("traffic: udp socket in %s: %w", ns.Name(), err)
	}
	tick := unix.NsecToTimeval(receiveTick.Nanoseconds())
	for _, step := range []func() error{
		func() error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, bufferSize) },
		func() error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bufferSize) },
		func() error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1) },
		func() error { return unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tick) },
		func() error { return unix.Bind(fd, sockaddr(local)) },
		func() error { return unix.Connect(fd, sockaddr(remote)) },
	} {
		if err := step(); err != nil {
			unix.Close(fd)
			return -1, fmt.Errorf("traffic: udp %s -> %s in %s: %w", local, remote, ns.Name(), err)
		}
	}
	return fd, nil
}

func family(a netip.AddrPort) int {
	if a.Addr().Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}
