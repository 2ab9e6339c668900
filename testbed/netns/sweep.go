package netns

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Sweep removes what killed runs left below base (empty: DefaultBase): run
// directories that start with prefix and whose lock nobody holds, with their
// processes, namespaces and mounts. It returns the directories it removed.
func Sweep(base, prefix string) ([]string, error) {
	if base == "" {
		base = DefaultBase
	}
	if _, err := os.Stat(base); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	gate, err := lockFile(filepath.Join(base, ".lock"), unix.LOCK_EX)
	if err != nil {
		return nil, err
	}
	defer gate.Close()
	entries, err := os.ReadDir(base)
	if err != nil {
		return nil, fmt.Errorf("netns: %w", err)
	}
	var removed []string
	var errs []error
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), prefix) {
			continue
		}
		dir := filepath.Join(base, e.Name())
		gone, err := sweepDir(dir)
		if gone {
			removed = append(removed, dir)
		}
		errs = append(errs, err)
	}
	return removed, errors.Join(errs...)
}

// sweepDir removes one run directory unless its owner lives.
func sweepDir(dir string) (bool, error) {
	lock, err := lockFile(filepath.Join(dir, "lock"), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer lock.Close()
	var errs []error
	files, _ := filepath.Glob(filepath.Join(dir, "ns", "*"))
	for _, f := range files {
		errs = append(errs, killMembers(f), unmountNS(f))
	}
	mounts, err := mountsBelow(dir)
	errs = append(errs, err)
	for i := len(mounts) - 1; i >= 0; i-- {
		errs = append(errs, unix.Unmount(mounts[i], unix.MNT_DETACH))
	}
	if err := errors.Join(errs...); err != nil {
		return false, err
	}
	return true, os.RemoveAll(dir)
}

// mountsBelow lists mount points inside dir, in the order they were mounted.
func mountsBelow(dir string) ([]string, error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("netns: %w", err)
	}
	var found []string
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], dir+"/") {
			found = append(found, f[4])
		}
	}
	return found, nil
}
