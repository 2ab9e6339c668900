package transport

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrLocked is wrapped by the error of Open when another process (or Conn) holds
// the locator.
var ErrLocked = errors.New("another process serves this locator")

// lock takes the lock file of a locator in dir. The file stays: removing it
// would let two processes lock two files of one name.
func lock(dir string, a netip.Addr) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("transport: lock: %w", err)
	}
	name := filepath.Join(dir, "mh-"+a.String()+".lock")
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("transport: lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("transport: %s: %w (lock file %s)", a, ErrLocked, name)
		}
		return nil, fmt.Errorf("transport: lock %s: %w", name, err)
	}
	return f, nil
}

// claim holds a locator in this network namespace, whatever directory the other
// process has its lock files in: raw sockets of one address exclude nobody, each
// gets a copy. It is a name of an abstract unix socket, which ends with the
// process.
func claim(a netip.Addr) (*os.File, error) {
	name := "@dpmip-mh-" + a.String()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("transport: claim %s: %w", name, err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: name}); err != nil {
		unix.Close(fd)
		if errors.Is(err, unix.EADDRINUSE) {
			return nil, fmt.Errorf("transport: %s: %w (unix socket %s of this network namespace)", a, ErrLocked, name)
		}
		return nil, fmt.Errorf("transport: claim %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}
