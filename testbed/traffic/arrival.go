package traffic

import (
	"encoding/binary"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/testbed/clock"
)

// stamped reads datagrams together with the time at which the endpoint's kernel
// took each from its port: when the receiving process gets to run is not the
// network's doing. It belongs to one goroutine.
type stamped struct {
	fd      int
	buf     []byte
	control [64]byte // room for one time stamp
}

// read gives the next datagram, valid until the next read, and its arrival on
// the run's clock.
func (s *stamped) read() ([]byte, time.Duration, error) {
	iov := unix.Iovec{Base: &s.buf[0]}
	iov.SetLen(len(s.buf))
	msg := unix.Msghdr{Iov: &iov, Control: &s.control[0]}
	msg.SetIovlen(1)
	msg.SetControllen(len(s.control))
	n, _, errno := unix.Syscall(unix.SYS_RECVMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&msg)), 0)
	now := time.Now()
	if errno != 0 {
		return nil, clock.Of(now), errno
	}
	return s.buf[:n], arrivedAt(s.control[:msg.Controllen], now), nil
}

// arrivedAt is the time stamp of a control message of struct timespec, or now
// where there is none.
func arrivedAt(control []byte, now time.Time) time.Duration {
	const header, stamp = unix.SizeofCmsghdr, 16
	at := clock.Of(now)
	if len(control) < header+stamp || binary.NativeEndian.Uint32(control[12:]) != unix.SCM_TIMESTAMPNS {
		return at
	}
	sec, nsec := binary.NativeEndian.Uint64(control[header:]), binary.NativeEndian.Uint64(control[header+8:])
	return at - now.Sub(time.Unix(int64(sec), int64(nsec))) // by the wall clock: the stamp has no other
}
