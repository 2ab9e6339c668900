package netns

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// DefaultBase is the directory below which every Set has its run directory.
const DefaultBase = "/run/dpmip-lab"

// ErrNotRoot says that the process lacks the rights to make namespaces.
var ErrNotRoot = errors.New("netns: network namespaces need root")

// Set owns the namespaces of one lab and what lives in them. It is safe for
// concurrent use. Close it exactly once; later calls return nil.
type Set struct {
	dir   string
	lock  *os.File
	spawn *spawner

	mu     sync.Mutex // guards the fields below
	spaces map[string]*NS
	procs  []*Process
	mounts []string
	closed bool
}

// Open makes the run directory base/prefix-PID-random and locks it. An empty
// base means DefaultBase. The prefix names the lab in Sweep.
func Open(base, prefix string) (*Set, error) {
	if os.Geteuid() != 0 {
		return nil, ErrNotRoot
	}
	if base == "" {
		base = DefaultBase
	}
	if err := os.MkdirAll(base, 0o755); err != nil {
		return nil, fmt.Errorf("netns: %w", err)
	}
	gate, err := lockFile(filepath.Join(base, ".lock"), unix.LOCK_EX)
	if err != nil {
		return nil, err
	}
	defer gate.Close()
	dir, err := os.MkdirTemp(base, fmt.Sprintf("%s-%d-*", prefix, os.Getpid()))
	if err != nil {
		return nil, fmt.Errorf("netns: %w", err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, fmt.Errorf("netns: %w", err)
	}
	lock, err := lockFile(filepath.Join(dir, "lock"), unix.LOCK_EX|unix.LOCK_NB)
	if err != nil {
		return nil, err
	}
	s := &Set{dir: dir, lock: lock, spaces: map[string]*NS{}}
	if err := os.Mkdir(s.nsDir(), 0o755); err != nil {
		lock.Close()
		return nil, fmt.Errorf("netns: %w", err)
	}
	s.spawn = newSpawner()
	return s, nil
}

// Dir is the run directory. Callers may put files and directories of their own
// into it; Close removes them.
func (s *Set) Dir() string { return s.dir }

// NS returns the namespace of that name, or nil.
func (s *Set) NS(name string) *NS {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.spaces[name]
}

// MountBPF mounts a bpffs of its own at Dir()/rel, for the pins of one node.
// It outlives the node's processes and goes with the Set.
func (s *Set) MountBPF(rel string) (string, error) { return s.mount("bpf", rel) }

// mount mounts a file system without a device at Dir()/rel, until Close.
func (s *Set) mount(kind, rel string) (string, error) {
	path := filepath.Join(s.dir, rel)
	if err := os.MkdirAll(path, 0o755); err != nil {
		return "", fmt.Errorf("netns: %w", err)
	}
	if err := unix.Mount(kind, path, kind, 0, ""); err != nil {
		return "", fmt.Errorf("netns: mount %s at %s: %w", kind, path, err)
	}
	s.mu.Lock()
	s.mounts = append(s.mounts, path)
	s.mu.Unlock()
	return path, nil
}

// Close stops every process of the Set, removes namespaces, mounts and the run
// directory. It goes on after an error and reports all of them.
func (s *Set) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	procs, spaces, mounts := s.procs, s.spaces, s.mounts
	s.mu.Unlock()

	errs := []error{stopAll(procs)}
	for _, n := range spaces {
		errs = append(errs, killMembers(n.path))
	}
	s.spawn.stop()
	for i := len(mounts) - 1; i >= 0; i-- {
		if err := unix.Unmount(mounts[i], unix.MNT_DETACH); err != nil {
			errs = append(errs, fmt.Errorf("netns: unmount %s: %w", mounts[i], err))
		}
	}
	for _, n := range spaces {
		errs = append(errs, n.release())
	}
	errs = append(errs, os.RemoveAll(s.dir), s.lock.Close())
	return errors.Join(errs...)
}

func (s *Set) nsDir() string { return filepath.Join(s.dir, "ns") }

func (s *Set) adopt(p *Process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.procs = append(s.procs, p)
}

func lockFile(path string, how int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("netns: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), how); err != nil {
		f.Close()
		return nil, fmt.Errorf("netns: lock %s: %w", path, err)
	}
	return f, nil
}
