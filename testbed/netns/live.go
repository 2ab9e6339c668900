package netns

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Live is a Set that a living process owns.
type Live struct {
	Dir string
	PID int // of its owner
}

// Find lists the living Sets below base (empty: DefaultBase) of one prefix.
func Find(base, prefix string) ([]Live, error) {
	if base == "" {
		base = DefaultBase
	}
	dirs, err := filepath.Glob(filepath.Join(base, prefix+"-*-*"))
	if err != nil || len(dirs) == 0 {
		return nil, err
	}
	gate, err := lockFile(filepath.Join(base, ".lock"), unix.LOCK_EX) // no Set is half made meanwhile
	if err != nil {
		return nil, err
	}
	defer gate.Close()
	var out []Live
	for _, d := range dirs {
		owner, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(d), prefix+"-"), "-")
		pid, err := strconv.Atoi(owner)
		if err != nil {
			continue // a longer prefix
		}
		held, err := held(d)
		if err != nil {
			return nil, err
		}
		if held {
			out = append(out, Live{Dir: d, PID: pid})
		}
	}
	return out, nil
}

// held tells whether somebody owns a run directory. The caller holds the gate.
func held(dir string) (bool, error) {
	f, err := os.Open(filepath.Join(dir, "lock"))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil // going, or not yet there
	}
	if err != nil {
		return false, fmt.Errorf("netns: %w", err)
	}
	defer f.Close()
	err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return true, nil
	}
	return false, err
}

// Exec replaces the present process by a program inside a namespace of the Set.
// It returns only with an error.
func (l Live) Exec(name, program string, args, env []string) error {
	f, err := os.Open(filepath.Join(l.Dir, "ns", filepath.Base(name)))
	if err != nil {
		return fmt.Errorf("netns: no node %q: %w", name, err)
	}
	defer f.Close()
	runtime.LockOSThread() // the program has the namespace of the thread that starts it
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("netns: enter %s: %w", name, err)
	}
	return fmt.Errorf("netns: %s: %w", program, unix.Exec(program, append([]string{program}, args...), env))
}
