package netns

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/vishvananda/netlink"
	vns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// NS is one network namespace. It is safe for concurrent use and belongs to
// its Set, which closes it.
type NS struct {
	name string
	path string
	set  *Set
	fd   *os.File
	nl   *netlink.Handle
	tc   tcSocket
}

// Create makes a namespace, visible as Path (a bind mount in the run
// directory), with its loopback up. An empty name gives an anonymous namespace,
// which has no bind mount and ends with its last descriptor and process.
func (s *Set) Create(name string) (*NS, error) {
	n := &NS{name: name, set: s}
	key := name
	if name != "" {
		n.path = filepath.Join(s.nsDir(), name)
	}
	if err := n.unshare(); err != nil {
		return nil, fmt.Errorf("netns: create %q: %w", name, errors.Join(err, n.release()))
	}
	var err error
	if n.nl, err = netlink.NewHandleAt(vns.NsHandle(n.fd.Fd()), unix.NETLINK_ROUTE); err == nil {
		err = n.openTC()
	}
	if err == nil {
		err = n.SetUp("lo")
	}
	if err != nil {
		return nil, fmt.Errorf("netns: create %q: %w", name, errors.Join(err, n.release()))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if key == "" {
		key = fmt.Sprintf("#%d", len(s.spaces))
		n.name = key
	}
	if s.closed || s.spaces[key] != nil {
		return nil, errors.Join(fmt.Errorf("netns: create %q: the set is closed or has it already", name), n.release())
	}
	s.spaces[key] = n
	return n, nil
}

// unshare makes the namespace on a thread of its own and keeps a descriptor.
func (n *NS) unshare() error {
	return onHostThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		self := fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid())
		fd, err := os.Open(self)
		if err != nil {
			return err
		}
		n.fd = fd
		if n.path == "" {
			n.path = fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), fd.Fd())
			return nil
		}
		f, err := os.OpenFile(n.path, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o444)
		if err != nil {
			return err
		}
		f.Close()
		return unix.Mount(self, n.path, "none", unix.MS_BIND, "")
	})
}

// Name is the name given to Create ("#N" for an anonymous namespace).
func (n *NS) Name() string { return n.name }

// Path is a file that `nsenter --net=PATH` accepts while the Set lives.
func (n *NS) Path() string { return n.path }

// Netlink is a route netlink handle inside the namespace. The NS owns it.
func (n *NS) Netlink() *netlink.Handle { return n.nl }

// Do runs f on the caller's goroutine with its thread inside the namespace.
// Sockets made by f stay in the namespace; goroutines started by f do not run
// in it. A panic or t.Fatal in f passes through, the thread is back by then.
func (n *NS) Do(f func() error) error {
	return onHostThread(func() error {
		if err := unix.Setns(int(n.fd.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("netns: enter %s: %w", n.name, err)
		}
		return f()
	})
}

// onHostThread locks the thread, runs f, which may change the thread's network
// namespace, and goes back to where the thread was (Do may be nested).
func onHostThread(f func() error) error {
	runtime.LockOSThread()
	back, err := unix.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("netns: own namespace: %w", err)
	}
	defer func() {
		err := unix.Setns(back, unix.CLONE_NEWNET)
		unix.Close(back)
		if err != nil {
			panic(fmt.Sprintf("netns: thread cannot go back to its namespace: %v", err))
		}
		runtime.UnlockOSThread()
	}()
	return f()
}

// Sysctl writes one key of the namespace, dots or slashes, as in
// "net.ipv6.conf.all.forwarding".
func (n *NS) Sysctl(key, value string) error {
	path := "/proc/sys/" + strings.ReplaceAll(key, ".", "/")
	return n.Do(func() error {
		if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
			return fmt.Errorf("netns: %s: sysctl %s=%s: %w", n.name, key, value, err)
		}
		return nil
	})
}

// Sysctls writes several keys, each "key=value", entering the namespace once.
func (n *NS) Sysctls(settings ...string) error {
	return n.Do(func() error {
		for _, s := range settings {
			key, value, ok := strings.Cut(s, "=")
			if !ok {
				return fmt.Errorf("netns: sysctl %q: want key=value", s)
			}
			path := "/proc/sys/" + strings.ReplaceAll(key, ".", "/")
			if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
				return fmt.Errorf("netns: %s: sysctl %s: %w", n.name, s, err)
			}
		}
		return nil
	})
}

// ReadFile reads a file as seen from the namespace, such as
// /proc/thread-self/net/netstat.
func (n *NS) ReadFile(path string) (b []byte, err error) {
	err = n.Do(func() error {
		b, err = os.ReadFile(path)
		return err
	})
	return b, err
}

// release gives up descriptor, handle and bind mount.
func (n *NS) release() error {
	var errs []error
	if n.nl != nil {
		n.nl.Close()
	}
	if n.tc.handle != nil {
		n.tc.handle.Close()
	}
	if n.fd != nil {
		errs = append(errs, n.fd.Close())
	}
	if n.set != nil && strings.HasPrefix(n.path, n.set.nsDir()) {
		errs = append(errs, unmountNS(n.path))
	}
	return errors.Join(errs...)
}

// unmountNS removes a bind-mounted namespace file; absent or not mounted is fine.
func unmountNS(path string) error {
	err := unix.Unmount(path, unix.MNT_DETACH)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("netns: unmount %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("netns: %w", err)
	}
	return nil
}
