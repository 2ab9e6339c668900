package haltest

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// plainChecksums makes the kernel compute checksums before a port sends, so
// that a far end sees on the wire what a real one would: a veth otherwise
// passes packets of the kernel's own on without (ethtool -K tx off).
func plainChecksums(link string) error {
	const setTxChecksum = 0x17 // ETHTOOL_STXCSUM
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	value := struct{ cmd, data uint32 }{cmd: setTxChecksum}
	req := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		pad  [16]byte
	}{data: unsafe.Pointer(&value)}
	copy(req.name[:unix.IFNAMSIZ-1], link)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req))); errno != 0 {
		return fmt.Errorf("ethtool -K %s tx off: %w", link, errno)
	}
	return nil
}
