package software

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/internal/rtnl"
)

// rtMessage is one rtnetlink request without its header.
type rtMessage struct {
	kind  uint16
	flags uint16 // besides NLM_F_REQUEST
	body  []byte
}

// rtConn sends rtnetlink requests in batches.
type rtConn struct {
	mu  sync.Mutex
	fd  int
	seq uint32
	buf []byte // received
	out []byte // sent
}

// rtBatch is how many requests go in one send: more gains nothing.
const rtBatch = 256

func dialRoute() (*rtConn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("software: rtnetlink: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("software: rtnetlink: %w", err)
	}
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20)
	unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1)
	return &rtConn{fd: fd, buf: make([]byte, 64<<10)}, nil
}

func (c *rtConn) close() { unix.Close(c.fd) }

// do carries out the requests in order; errs[i] answers msgs[i]. A failed one
// does not stop the others.
func (c *rtConn) do(msgs []rtMessage) []error {
	c.mu.Lock()
	defer c.mu.Unlock()
	errs := make([]error, len(msgs))
	for first := 0; first < len(msgs); first += rtBatch {
		last := min(first+rtBatch, len(msgs))
		c.send(msgs[first:last], errs[first:last])
	}
	return errs
}

// one carries out one request.
func (c *rtConn) one(m rtMessage) error { return c.do([]rtMessage{m})[0] }

func (c *rtConn) send(msgs []rtMessage, errs []error) {
	first := c.seq + 1
	out := c.out[:0]
	for i, m := range msgs {
		c.seq++
		flags := unix.NLM_F_REQUEST | m.flags
		if i == len(msgs)-1 {
			flags |= unix.NLM_F_ACK
		}
		out = appendMessage(out, m, flags, c.seq)
	}
	c.out = out
	if err := unix.Sendto(c.fd, out, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		fill(errs, err)
		return
	}
	for done := false; !done; {
		n, _, err := unix.Recvfrom(c.fd, c.buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			fill(errs, err)
			return
		}
		done = answers(c.buf[:n], first, errs)
	}
}

func fill(errs []error, err error) {
	for i := range errs {
		errs[i] = os.NewSyscallError("rtnetlink", err)
	}
}

// answers notes acknowledgements; true after that of the last request.
func answers(b []byte, first uint32, errs []error) bool {
	for len(b) >= unix.NLMSG_HDRLEN {
		size := int(binary.NativeEndian.Uint32(b))
		if size < unix.NLMSG_HDRLEN || size > len(b) {
			return false
		}
		i := int(binary.NativeEndian.Uint32(b[8:]) - first)
		if binary.NativeEndian.Uint16(b[4:]) == unix.NLMSG_ERROR && size >= 20 && i >= 0 && i < len(errs) {
			if code := int32(binary.NativeEndian.Uint32(b[16:])); code != 0 {
				errs[i] = rtnl.Refusal{Errno: unix.Errno(-code), Why: rtnl.Reason(b[:size])}
			}
			if i == len(errs)-1 {
				return true
			}
		}
		b = b[min(len(b), align4(size)):]
	}
	return false
}

func align4(n int) int { return (n + 3) &^ 3 }

func appendMessage(out []byte, m rtMessage, flags uint16, seq uint32) []byte {
	out = binary.NativeEndian.AppendUint32(out, uint32(unix.NLMSG_HDRLEN+len(m.body)))
	out = binary.NativeEndian.AppendUint16(out, m.kind)
	out = binary.NativeEndian.AppendUint16(out, flags)
	out = binary.NativeEndian.AppendUint32(out, seq)
	out = binary.NativeEndian.AppendUint32(out, 0)
	return pad(append(out, m.body...), len(m.body))
}

func appendAttr(b []byte, kind uint16, data []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(4+len(data)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	return pad(append(b, data...), len(data))
}

// pad fills up what has grown by n bytes to a multiple of four.
func pad(b []byte, n int) []byte {
	for ; n%4 != 0; n++ {
		b = append(b, 0)
	}
	return b
}

func appendAttr32(b []byte, kind uint16, v uint32) []byte {
	b = binary.NativeEndian.AppendUint16(b, 8)
	b = binary.NativeEndian.AppendUint16(b, kind)
	return binary.NativeEndian.AppendUint32(b, v)
}

func family(a netip.Addr) byte {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}
