package rtnl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Protocol is the rtm_protocol of every route that dpmip owns. Routing daemons
// such as FRR see it under "redistribute kernel" (196 and below are taken).
const Protocol = 201

// ErrFull is wrapped where a table has no room for a route: the kernel's, or that
// of a switch whose driver follows the kernel's.
var ErrFull = errors.New("table full")

// batch is how many messages go out in one send: well below the receive
// buffer's worth of answers when all of them fail.
const batch = 256

// Change adds (or replaces) or deletes one route.
type Change struct {
	Delete bool
	Prefix netip.Prefix
	// NextHop is the gateway, of the prefix's family or IPv6 for either
	// (RFC 8950 style); invalid = on-link. OnLink skips the kernel's check that
	// the gateway is directly reachable.
	NextHop netip.Addr
	OnLink  bool
	Device  int // interface index; 0 only for deletes and Unreachable
	Metric  uint32
	Table   uint32 // 0 = main
	MTU     uint32 // 0 = the device's
	// Unreachable makes the route answer with an ICMP error instead.
	Unreachable bool
}

// Conn is one rtnetlink socket. Methods may be called concurrently; each call
// is one or more whole batches.
type Conn struct {
	mu  sync.Mutex // guards fd's conversation and seq
	fd  int
	seq uint32
	buf []byte
	rcv []byte
}

// Dial opens a socket in the network namespace of the calling thread.
func Dial() (*Conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("rtnl: socket: %w", err)
	}
	c := &Conn{fd: fd, rcv: make([]byte, 1<<16)}
	// Best effort: a smaller buffer or a longer answer is slower, not wrong.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 4<<20)
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1) // without it: no words, and a switch's full table looks like a missing right
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("rtnl: bind: %w", err)
	}
	return c, nil
}

// Close closes the socket.
func (c *Conn) Close() error { return unix.Close(c.fd) }

// Apply carries out the changes in order and returns an error for each, nil
// where the route now is (or no longer is). Deleting an absent route is nil.
func (c *Conn) Apply(changes []Change) []error {
	c.mu.Lock()
	defer c.mu.Unlock()
	errs := make([]error, len(changes))
	for at := 0; at < len(changes); at += batch {
		end := min(at+batch, len(changes))
		c.exchange(changes[at:end], errs[at:end])
	}
	return errs
}

// exchange sends one batch and collects its answers.
func (c *Conn) exchange(changes []Change, errs []error) {
	first := c.seq + 1
	c.buf = c.buf[:0]
	for i := range changes {
		c.seq++
		c.buf = appendChange(c.buf, &changes[i], c.seq, i == len(changes)-1)
	}
	if err := unix.Sendto(c.fd, c.buf, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		fill(errs, fmt.Errorf("rtnl: send: %w", err))
		return
	}
	for {
		n, _, err := unix.Recvfrom(c.fd, c.rcv, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			fill(errs, fmt.Errorf("rtnl: receive: %w", err))
			return
		}
		if readAnswers(c.rcv[:n], first, c.seq, changes, errs) {
			return
		}
	}
}

func fill(errs []error, err error) {
	for i := range errs {
		errs[i] = err
	}
}

// readAnswers notes the errors in b and reports whether the last message of
// the batch was answered.
func readAnswers(b []byte, first, last uint32, changes []Change, errs []error) bool {
	done := false
	for len(b) >= unix.SizeofNlMsghdr {
		size := int(binary.NativeEndian.Uint32(b))
		if size < unix.SizeofNlMsghdr || size > len(b) {
			return done
		}
		typ, seq := binary.NativeEndian.Uint16(b[4:]), binary.NativeEndian.Uint32(b[8:])
		if typ == unix.NLMSG_ERROR && size >= unix.SizeofNlMsghdr+4 && seq-first <= last-first {
			code := int32(binary.NativeEndian.Uint32(b[unix.SizeofNlMsghdr:]))
			errs[seq-first] = routeError(&changes[seq-first], Refusal{unix.Errno(-code), Reason(b[:size])})
			done = done || seq == last
		}
		b = b[min(len(b), (size+3)&^3):]
	}
	return done
}

// routeError is the kernel's answer to a change.
func routeError(c *Change, r Refusal) error {
	verb := "add"
	if c.Delete {
		verb = "delete"
	}
	switch {
	case r.Errno == 0, c.Delete && (r.Errno == unix.ESRCH || r.Errno == unix.ENODEV):
		return nil
	case r.Full():
		return fmt.Errorf("rtnl: %s %s: %w: %w", verb, c.Prefix, ErrFull, r)
	}
	return fmt.Errorf("rtnl: %s %s: %w", verb, c.Prefix, r)
}

// appendChange appends one RTM_NEWROUTE or RTM_DELROUTE message.
func appendChange(b []byte, c *Change, seq uint32, ack bool) []byte {
	typ, flags := uint16(unix.RTM_NEWROUTE), uint16(unix.NLM_F_REQUEST|unix.NLM_F_CREATE|unix.NLM_F_REPLACE)
	proto, scope := uint8(Protocol), uint8(unix.RT_SCOPE_UNIVERSE)
	if c.Delete {
		// Deletes match any protocol and scope: the prefix, table and metric name the route.
		typ, flags, scope = unix.RTM_DELROUTE, unix.NLM_F_REQUEST, unix.RT_SCOPE_NOWHERE
	} else if !c.NextHop.IsValid() && !c.Unreachable {
		scope = unix.RT_SCOPE_LINK
	}
	if ack {
		flags |= unix.NLM_F_ACK
	}
	start := len(b)
	b = append(b, 0, 0, 0, 0)
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = binary.NativeEndian.AppendUint16(b, flags)
	b = binary.NativeEndian.AppendUint32(b, seq)
	b = append(b, 0, 0, 0, 0)
	family, rtype := uint8(unix.AF_INET6), uint8(unix.RTN_UNICAST)
	if c.Prefix.Addr().Is4() {
		family = unix.AF_INET
	}
	if c.Unreachable {
		rtype = unix.RTN_UNREACHABLE
	}
	if c.Delete {
		rtype = unix.RTN_UNSPEC
	}
	table := c.Table
	if table == 0 {
		table = unix.RT_TABLE_MAIN
	}
	var rflags uint32
	if c.OnLink {
		rflags = unix.RTNH_F_ONLINK
	}
	b = append(b, family, uint8(c.Prefix.Bits()), 0, 0, uint8(min(table, unix.RT_TABLE_COMPAT)), proto, scope, rtype)
	b = binary.NativeEndian.AppendUint32(b, rflags)
	b = appendAttr(b, unix.RTA_DST, c.Prefix.Addr().AsSlice())
	b = appendAttr32(b, unix.RTA_TABLE, table)
	if c.Device != 0 {
		b = appendAttr32(b, unix.RTA_OIF, uint32(c.Device))
	}
	if c.Metric != 0 {
		b = appendAttr32(b, unix.RTA_PRIORITY, c.Metric)
	}
	if c.NextHop.IsValid() && !c.Delete {
		b = appendNextHop(b, c)
	}
	if c.MTU != 0 && !c.Delete {
		inner := appendAttr32(nil, unix.RTAX_LOCK, 1<<unix.RTAX_MTU)
		b = appendAttr(b, unix.RTA_METRICS, appendAttr32(inner, unix.RTAX_MTU, c.MTU))
	}
	binary.NativeEndian.PutUint32(b[start:], uint32(len(b)-start))
	return b
}

func appendNextHop(b []byte, c *Change) []byte {
	if c.NextHop.Is4() == c.Prefix.Addr().Is4() {
		return appendAttr(b, unix.RTA_GATEWAY, c.NextHop.AsSlice())
	}
	via := binary.NativeEndian.AppendUint16(nil, unix.AF_INET6)
	return appendAttr(b, unix.RTA_VIA, append(via, c.NextHop.AsSlice()...))
}

func appendAttr(b []byte, typ uint16, data []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(4+len(data)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = append(b, data...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func appendAttr32(b []byte, typ uint16, v uint32) []byte {
	return appendAttr(b, typ, binary.NativeEndian.AppendUint32(nil, v))
}

// String names the socket for logs.
func (c *Conn) String() string { return fmt.Sprintf("rtnl(pid %d)", os.Getpid()) }
