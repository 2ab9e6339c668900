package bench

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/testbed/netns"
)

// blastBatch is how many frames one call sends.
const blastBatch = 64

// mmsghdr is struct mmsghdr of sendmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
	_   uint32
}

// blaster sends one frame again and again out of a port. What the receiving end
// of a veth pair does with a frame is done on the sender's CPU before the call
// returns, so that the time of sending is the time of forwarding.
type blaster struct {
	fd    int
	frame []byte
	to    unix.RawSockaddrLinklayer
	iov   unix.Iovec
	msgs  [blastBatch]mmsghdr
}

func newBlaster(ns *netns.NS, port string, frame []byte) (*blaster, error) {
	index, err := ns.Index(port)
	if err != nil {
		return nil, err
	}
	b := &blaster{frame: frame, to: unix.RawSockaddrLinklayer{Family: unix.AF_PACKET, Ifindex: int32(index), Halen: 6}}
	err = ns.Do(func() (err error) {
		b.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("bench: packet socket: %w", err)
	}
	b.iov.Base = &b.frame[0]
	b.iov.SetLen(len(frame))
	for i := range b.msgs {
		h := &b.msgs[i].hdr
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&b.to)), uint32(unsafe.Sizeof(b.to))
		h.Iov = &b.iov
		h.SetIovlen(1)
	}
	return b, nil
}

func (b *blaster) close() { unix.Close(b.fd) }

// send sends n frames and tells how long it took.
func (b *blaster) send(n int) (time.Duration, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start := time.Now()
	for n > 0 {
		sent, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(b.fd), uintptr(unsafe.Pointer(&b.msgs[0])), uintptr(min(n, len(b.msgs))), 0, 0, 0)
		switch errno {
		case 0:
			n -= int(sent)
		case unix.ENOBUFS, unix.EAGAIN, unix.EINTR:
		default:
			return 0, fmt.Errorf("bench: sendmmsg: %w", errno)
		}
	}
	return time.Since(start), nil
}

// datagram is an Ethernet frame with a UDP datagram of 64 bytes.
func datagram(dst, src net.HardwareAddr, from, to netip.AddrPort) []byte {
	const size = 64
	f := append(append([]byte{}, dst...), src...)
	if to.Addr().Is4() {
		f = append(f, 0x08, 0x00, 0x45, 0, 0, 20+size, 0, 1, 0x40, 0, 64, unix.IPPROTO_UDP, 0, 0)
		f = append(append(f, from.Addr().AsSlice()...), to.Addr().AsSlice()...)
		binary.BigEndian.PutUint16(f[24:], onesComplement(f[14:34]))
	} else {
		f = append(f, 0x86, 0xdd, 0x60, 0, 0, 0, 0, size, unix.IPPROTO_UDP, 64)
		f = append(append(f, from.Addr().AsSlice()...), to.Addr().AsSlice()...)
	}
	udp := make([]byte, size)
	binary.BigEndian.PutUint16(udp, from.Port())
	binary.BigEndian.PutUint16(udp[2:], to.Port())
	binary.BigEndian.PutUint16(udp[4:], size)
	pseudo := append(append(from.Addr().AsSlice(), to.Addr().AsSlice()...), 0, unix.IPPROTO_UDP, 0, size)
	binary.BigEndian.PutUint16(udp[6:], onesComplement(append(pseudo, udp...)))
	return append(f, udp...)
}

// onesComplement is the Internet checksum (RFC 1071) over an even number of
// bytes.
func onesComplement(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
