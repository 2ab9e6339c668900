package transport

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// errors drains the error queue (ip(7), IP_RECVERR): each says to which
// destination a message was lost, and whether its kernel refused it, that is,
// nobody listens there.
func (s *socket) errors(report func(to netip.Addr, refused bool)) {
	var buf [64]byte
	var oob [256]byte
	s.raw.Control(func(fd uintptr) {
		for {
			_, n, _, from, err := unix.Recvmsg(int(fd), buf[:], oob[:], unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				return
			}
			report(addrOf(from), refused(oob[:n]))
		}
	})
}

// refused looks for a sock_extended_err from ICMP that says "no such protocol"
// or "no such port" at the destination.
func refused(oob []byte) bool {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return false
	}
	for _, m := range msgs {
		six := m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_RECVERR
		four := m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_RECVERR
		if !six && !four || len(m.Data) < 5 {
			continue
		}
		errno, origin := unix.Errno(binary.NativeEndian.Uint32(m.Data)), m.Data[4]
		icmp := origin == unix.SO_EE_ORIGIN_ICMP || origin == unix.SO_EE_ORIGIN_ICMP6
		return icmp && (errno == unix.EPROTO || errno == unix.ECONNREFUSED || errno == unix.ENOPROTOOPT)
	}
	return false
}

func addrOf(sa unix.Sockaddr) netip.Addr {
	switch a := sa.(type) {
	case *unix.SockaddrInet6:
		return netip.AddrFrom16(a.Addr).Unmap()
	case *unix.SockaddrInet4:
		return netip.AddrFrom4(a.Addr)
	}
	return netip.Addr{}
}
