package machine

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Label is the name of the configuration partition's file system.
const Label = "DPMIP-CONFIG"

// ErrNoPartition means that no block device has the label.
var ErrNoPartition = errors.New("machine: no partition labelled " + Label)

// label reads the label of an ext4 file system (of ext2 and ext3, too); ""
// where it is none.
func label(r io.ReaderAt) string {
	const (
		super = 1024
		magic = super + 0x38
		name  = super + 0x78
	)
	b := make([]byte, 2)
	if _, err := r.ReadAt(b, magic); err != nil || binary.LittleEndian.Uint16(b) != 0xef53 {
		return ""
	}
	b = make([]byte, 16)
	if _, err := r.ReadAt(b, name); err != nil {
		return ""
	}
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b)
}

// find looks at every block device of sys (/sys/class/block).
func find(sys, dev, want string) (string, error) {
	list, err := os.ReadDir(sys)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("machine: %w", err)
	}
	for _, d := range list {
		path := filepath.Join(dev, d.Name())
		f, err := os.Open(path)
		if err != nil {
			continue // a drive without a medium
		}
		got := label(f)
		f.Close()
		if got == want {
			return path, nil
		}
	}
	return "", ErrNoPartition
}

// MountConfig mounts the configuration partition, waiting for its device to
// appear as long as ctx allows. ErrNoPartition leaves what the image carries.
func MountConfig(ctx context.Context) (string, error) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		dev, err := find("/sys/class/block", "/dev", Label)
		if err == nil {
			return dev, mountExt4(dev)
		}
		if !errors.Is(err, ErrNoPartition) {
			return "", err
		}
		select {
		case <-ctx.Done():
			return "", err
		case <-tick.C:
		}
	}
}

func mountExt4(dev string) error {
	if err := os.MkdirAll(ConfigDir, 0o700); err != nil {
		return fmt.Errorf("machine: %w", err)
	}
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME
	if err := unix.Mount(dev, ConfigDir, "ext4", flags, "errors=remount-ro"); err != nil {
		return fmt.Errorf("machine: mounting %s at %s: %w", dev, ConfigDir, err)
	}
	return nil
}

// UnmountConfig makes everything durable and lets go of the partition; where
// something still uses it, it is made read-only instead.
func UnmountConfig() error {
	unix.Sync()
	err := unix.Unmount(ConfigDir, 0)
	if errors.Is(err, unix.EBUSY) {
		err = unix.Mount("", ConfigDir, "", unix.MS_REMOUNT|unix.MS_RDONLY, "")
	}
	if err != nil && !errors.Is(err, unix.EINVAL) { // EINVAL: it was not mounted
		return fmt.Errorf("machine: unmounting %s: %w", ConfigDir, err)
	}
	return nil
}
