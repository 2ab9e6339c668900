package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/mobility/registration"
	"github.com/dpmip/dpmip/mobility/wire"
)

// batchConn is what ipv4.PacketConn and ipv6.PacketConn have in common; their
// Message is one type.
type batchConn interface {
	ReadBatch([]ipv6.Message, int) (int, error)
	WriteBatch([]ipv6.Message, int) (int, error)
}

// socket is one locator's socket with its buffers.
type socket struct {
	local netip.Addr
	pc    net.PacketConn
	batch batchConn
	raw   syscall.RawConn

	// Reader's own.
	in      []ipv6.Message
	msgs    []wire.Message
	inbound []registration.Inbound
	budgets map[netip.Addr]*budget
	table   *Table // that the budgets were pruned to

	sending sync.Mutex // guards what follows
	out     []ipv6.Message
	to      []netip.Addr // of out
	given   wire.Message
	plain   wire.Message
}

// openSocket opens the socket of a locator: raw protocol 135 for IPv6, UDP for
// IPv4, in the network namespace of the calling thread.
func openSocket(cfg *Config, a netip.Addr) (*socket, error) {
	network, address := "ip6:135", a.String()
	if a.Is4() {
		network, address = "udp4", netip.AddrPortFrom(a, Port).String()
	}
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if e := c.Control(func(fd uintptr) { err = setOptions(int(fd), cfg, a.Is4()) }); e != nil {
			return e
		}
		return err
	}}
	pc, err := lc.ListenPacket(context.Background(), network, address)
	if err != nil {
		return nil, fmt.Errorf("transport: %s: %w", a, err)
	}
	s := &socket{local: a, pc: pc, budgets: make(map[netip.Addr]*budget)}
	if a.Is4() {
		s.batch = ipv4.NewPacketConn(pc)
	} else {
		s.batch = ipv6.NewPacketConn(pc)
	}
	if s.raw, err = pc.(syscall.Conn).SyscallConn(); err != nil {
		pc.Close()
		return nil, fmt.Errorf("transport: %s: %w", a, err)
	}
	s.allocate(cfg)
	return s, nil
}

func (s *socket) allocate(cfg *Config) {
	s.in = make([]ipv6.Message, cfg.Batch)
	s.msgs = make([]wire.Message, cfg.Batch)
	s.inbound = make([]registration.Inbound, 0, cfg.Batch)
	for i := range s.in {
		s.in[i].Buffers = [][]byte{make([]byte, wire.MaxLen+1)}
		s.msgs[i].Enterprise = cfg.Enterprise
	}
	s.given.Enterprise, s.plain.Enterprise = cfg.Enterprise, cfg.Enterprise
}

func setOptions(fd int, cfg *Config, v4 bool) error {
	// Beyond net.core.rmem_max where we may, up to it where not.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, cfg.ReceiveBuffer) != nil {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, cfg.ReceiveBuffer); err != nil {
			return os.NewSyscallError("SO_RCVBUF", err)
		}
	}
	level, recvErr, freeBind := unix.IPPROTO_IPV6, unix.IPV6_RECVERR, unix.IPV6_FREEBIND
	if v4 {
		level, recvErr, freeBind = unix.IPPROTO_IP, unix.IP_RECVERR, unix.IP_FREEBIND
	}
	if err := unix.SetsockoptInt(fd, level, recvErr, 1); err != nil {
		return os.NewSyscallError("RECVERR", err)
	}
	if cfg.FreeBind {
		if err := unix.SetsockoptInt(fd, level, freeBind, 1); err != nil {
			return os.NewSyscallError("FREEBIND", err)
		}
	}
	if cfg.Device != "" {
		return os.NewSyscallError("SO_BINDTODEVICE "+cfg.Device, unix.BindToDevice(fd, cfg.Device))
	}
	return nil
}

// wake makes a blocked read return, awake undoes it.
func (s *socket) wake()  { s.pc.SetReadDeadline(time.Unix(1, 0)) }
func (s *socket) awake() { s.pc.SetReadDeadline(time.Time{}) }

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// isPathError reports whether an error of a read or write is one that an ICMP
// message or a passing state of the network left on the socket. It says nothing
// about the call that returned it.
func isPathError(err error) bool {
	for _, e := range []error{
		unix.EPROTO, unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EACCES, unix.EMSGSIZE,
		unix.ENETDOWN, unix.EHOSTDOWN, unix.ENOPROTOOPT, unix.ENOBUFS, unix.EINTR, unix.EOPNOTSUPP, unix.ENOMEM,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
