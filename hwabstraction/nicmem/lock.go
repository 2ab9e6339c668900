package nicmem

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/dpmip/dpmip/hwabstraction"
	"golang.org/x/sys/unix"
)

// file is what matters of a locked file.
type file struct {
	size int64
	page int64 // of its file system, at least 4096
}

// lock opens the region's file, making an empty one where there is none, and
// locks it. The kernel drops the lock when the process ends, however it ends.
func (r *Region) lock() (file, error) {
	fd, err := unix.Open(r.path, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return file{}, fmt.Errorf("open: %w", err)
	}
	r.fd = fd
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return file{}, fmt.Errorf("stat: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return file{}, errors.New("is not a regular file")
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return file{}, fmt.Errorf("lock: %w", err)
		}
		if pid := holder(&st); pid > 0 {
			return file{}, fmt.Errorf("%w by process %d", hwabstraction.ErrRegionBusy, pid)
		}
		return file{}, hwabstraction.ErrRegionBusy
	}
	// Again, now that nobody else changes it.
	if err := unix.Fstat(fd, &st); err != nil {
		return file{}, fmt.Errorf("stat: %w", err)
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return file{}, fmt.Errorf("statfs: %w", err)
	}
	r.medium = mediumOf(int64(fs.Type))
	return file{size: st.Size, page: max(headerSize, int64(fs.Bsize))}, nil
}

func mediumOf(fsType int64) string {
	switch fsType {
	case unix.TMPFS_MAGIC:
		return "tmpfs"
	case unix.HUGETLBFS_MAGIC:
		return "hugetlbfs"
	}
	return "other"
}

// holder asks the kernel who has locked a file; 0 if it does not tell, as for
// a process of another PID namespace.
func holder(st *unix.Stat_t) int {
	f, err := os.Open("/proc/locks")
	if err != nil {
		return 0
	}
	defer f.Close()
	want := fmt.Sprintf("%02x:%02x:%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		// "1: FLOCK  ADVISORY  WRITE 1234 00:19:5678 0 EOF"
		fields := strings.Fields(lines.Text())
		if len(fields) > 5 && fields[1] == "FLOCK" && fields[5] == want {
			pid, _ := strconv.Atoi(fields[4])
			return max(0, pid)
		}
	}
	return 0
}

// bootID reads the kernel's identity of this boot.
func bootID() (id [16]byte, err error) {
	const path = "/proc/sys/kernel/random/boot_id"
	b, err := os.ReadFile(path)
	if err != nil {
		return id, fmt.Errorf("boot identity: %w", err)
	}
	b = bytes.ReplaceAll(bytes.TrimSpace(b), []byte("-"), nil)
	if n, err := hex.Decode(id[:], b); err != nil || n != len(id) {
		return id, fmt.Errorf("boot identity: %s holds %q", path, b)
	}
	return id, nil
}
