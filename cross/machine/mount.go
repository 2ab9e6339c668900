package machine

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ConfigDir is where the configuration partition is mounted, or what the image
// carries in its place.
const ConfigDir = "/config"

// mount is one file system.
type mount struct {
	kind, at, options string
	flags             uintptr
	optional          bool // the kernel may lack it
}

const quiet = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// mounts are what every program expects, in order. /run may hold programs:
// bundles are unpacked there.
var mounts = []mount{
	{kind: "devtmpfs", at: "/dev", options: "mode=0755", flags: unix.MS_NOSUID},
	{kind: "proc", at: "/proc", flags: quiet},
	{kind: "sysfs", at: "/sys", flags: quiet},
	{kind: "bpf", at: "/sys/fs/bpf", options: "mode=0700", flags: quiet},
	{kind: "debugfs", at: "/sys/kernel/debug", options: "mode=0700", flags: quiet, optional: true},
	{kind: "cgroup2", at: "/sys/fs/cgroup", flags: quiet, optional: true},
	{kind: "tmpfs", at: "/dev/shm", options: "mode=1777", flags: quiet},
	{kind: "devpts", at: "/dev/pts", options: "mode=0620", flags: unix.MS_NOSUID | unix.MS_NOEXEC, optional: true},
	{kind: "tmpfs", at: "/run", options: "mode=0755", flags: unix.MS_NOSUID | unix.MS_NODEV},
	{kind: "tmpfs", at: "/tmp", options: "mode=1777", flags: unix.MS_NOSUID | unix.MS_NODEV},
}

// Mount mounts what every program expects. It goes on after a failure and
// returns all errors; what is mounted already is fine.
func Mount() error {
	var errs []error
	for _, m := range mounts {
		if err := m.do(); err != nil && !m.optional {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (m mount) do() error {
	if err := os.MkdirAll(m.at, 0o755); err != nil {
		return fmt.Errorf("machine: %w", err)
	}
	if err := unix.Mount(m.kind, m.at, m.kind, m.flags, m.options); err != nil && !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("machine: mounting %s at %s: %w", m.kind, m.at, err)
	}
	return nil
}

// HugePages reserves n pages of 2 MiB and mounts them at /dev/hugepages.
func HugePages(n int) error {
	if n == 0 {
		return nil
	}
	const pool = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
	if err := os.WriteFile(pool, fmt.Append(nil, n), 0o644); err != nil {
		return fmt.Errorf("machine: reserving %d huge pages: %w", n, err)
	}
	var got int
	b, err := os.ReadFile(pool)
	if _, scan := fmt.Sscan(string(b), &got); err != nil || scan != nil || got < n {
		return fmt.Errorf("machine: only %d of %d huge pages are to be had", got, n)
	}
	return mount{kind: "hugetlbfs", at: "/dev/hugepages", options: "pagesize=2M,mode=0700", flags: unix.MS_NOSUID | unix.MS_NODEV}.do()
}
