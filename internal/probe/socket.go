package probe

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Socket sends probes. It may be used concurrently.
type Socket struct{ v6, v4 int }

// Open opens sockets, one a family, in the thread's network namespace. They may
// send from addresses that are not the node's: CAP_NET_ADMIN is needed.
func Open() (*Socket, error) {
	s := &Socket{v6: -1, v4: -1}
	var err error
	if s.v6, err = open(unix.AF_INET6, unix.SOL_IPV6, unix.IPV6_TRANSPARENT); err != nil {
		return nil, fmt.Errorf("probe: IPv6 socket: %w", err)
	}
	if s.v4, err = open(unix.AF_INET, unix.SOL_IP, unix.IP_TRANSPARENT); err != nil {
		return nil, errors.Join(fmt.Errorf("probe: IPv4 socket: %w", err), s.Close())
	}
	return s, nil
}

func open(family, level, transparent int) (int, error) {
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, Protocol)
	if err != nil {
		return -1, err
	}
	err = unix.SetsockoptInt(fd, level, transparent, 1)
	if err == nil { // it is not read: the least that the kernel allows
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// Close closes the sockets.
func (s *Socket) Close() error {
	var errs []error
	for _, fd := range []int{s.v6, s.v4} {
		if fd >= 0 {
			errs = append(errs, unix.Close(fd))
		}
	}
	return errors.Join(errs...)
}

// Send sends one probe by the kernel's routes. An invalid from is whatever
// address the kernel takes.
func (s *Socket) Send(from, to netip.Addr, t Token) error {
	var err error
	if to.Is4() {
		var control []byte
		if from.IsValid() {
			control = unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: from.As4()})
		}
		err = unix.Sendmsg(s.v4, Payload(t), control, &unix.SockaddrInet4{Port: Port, Addr: to.As4()}, unix.MSG_DONTWAIT)
	} else {
		var control []byte
		if from.IsValid() {
			control = unix.PktInfo6(&unix.Inet6Pktinfo{Addr: from.As16()})
		}
		err = unix.Sendmsg(s.v6, Payload(t), control, &unix.SockaddrInet6{Port: Port, Addr: to.As16()}, unix.MSG_DONTWAIT)
	}
	if err != nil {
		return fmt.Errorf("probe: from %s to %s: %w", from, to, err)
	}
	return nil
}
