package image

import (
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/dpmip/dpmip/cross/cpio"
	"github.com/dpmip/dpmip/cross/modules"
)

// MaxSize is what the image without its kernel and modules may have, in bytes.
const MaxSize = 12 << 20

// window is zstd's: wide enough to see what two Go programs have in common, and
// well below what the kernel accepts (128 MiB).
const window = 32 << 20

// folders are mounted over or written to by PID 1.
var folders = []string{"config", "dev", "etc", "lib/modules", "proc", "run", "sys", "tmp", "usr/bin"}

// Firmware is what an image is made of.
type Firmware struct {
	Init     []byte            // PID 1
	Programs map[string][]byte // by name, for /usr/bin
	Config   map[string][]byte // by name, for /config: used where there is no partition
	Release  string
}

// Archive lays the files out.
func (f Firmware) Archive() (*cpio.Archive, error) {
	a := &cpio.Archive{}
	for _, dir := range folders {
		if err := a.Dir(dir, 0o755); err != nil {
			return nil, err
		}
	}
	adds := []error{
		a.Char("dev/console", 0o600, 5, 1), // the kernel opens it for PID 1
		a.Char("dev/null", 0o666, 1, 3),
		a.File("init", 0o755, f.Init),
		a.Link("usr/bin/dpmip-init", "/init"),
		a.Link("bin", "usr/bin"),
		a.File("etc/os-release", 0o644, fmt.Appendf(nil, "ID=dpmip\nNAME=dpmip\nVERSION=%s\n", f.Release)),
		a.File("etc/hosts", 0o644, []byte("127.0.0.1 localhost\n::1 localhost\n")),
		a.File("etc/passwd", 0o644, []byte("root:x:0:0:root:/:/\n")),
	}
	for name, data := range f.Programs {
		adds = append(adds, a.File(path.Join("usr/bin", name), 0o755, data))
	}
	for name, data := range f.Config {
		adds = append(adds, a.File(path.Join("config", name), 0o600, data))
	}
	for _, err := range adds {
		if err != nil {
			return nil, err
		}
	}
	return a, nil
}

// Modules lays out kernel modules, unpacked (the kernel then spends no boot time
// on it), flat, with the list that gives their order.
func Modules(list []modules.Info) (*cpio.Archive, error) {
	a := &cpio.Archive{}
	var order strings.Builder
	for _, m := range list {
		file := m.Name + ".ko"
		order.WriteString(file + "\n")
		if err := a.File("lib/modules/"+file, 0o644, m.Image); err != nil {
			return nil, err
		}
	}
	return a, a.File("lib/modules/dpmip.list", 0o644, []byte(order.String()))
}

// Write compresses an archive with zstd: the same archive gives the same bytes.
func Write(w io.Writer, a *cpio.Archive) error {
	// One encoder goroutine: with more, block boundaries could depend on timing.
	z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(window), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return fmt.Errorf("image: %w", err)
	}
	if _, err := a.WriteTo(z); err != nil {
		return fmt.Errorf("image: %w", err)
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("image: %w", err)
	}
	return nil
}
