package traffic

import (
	"fmt"
	"net"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rtoCount is the number of retransmission time-outs of a connection. Kernels
// before 6.7 do not count them; there an ongoing one is seen by its back-off
// (tcpi_retransmits), which is what such a kernel can say at a mark.
func rtoCount(c *net.TCPConn) (uint64, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var info unix.TCPInfo
	size := uint32(unsafe.Sizeof(info))
	var errno unix.Errno
	err = raw.Control(func(fd uintptr) {
		_, _, errno = unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.IPPROTO_TCP, unix.TCP_INFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	})
	if err != nil {
		return 0, err
	}
	if errno != 0 {
		return 0, fmt.Errorf("traffic: TCP_INFO: %w", errno)
	}
	if uintptr(size) >= unsafe.Offsetof(info.Total_rto)+unsafe.Sizeof(info.Total_rto) {
		return uint64(info.Total_rto), nil
	}
	return uint64(info.Retransmits), nil
}
