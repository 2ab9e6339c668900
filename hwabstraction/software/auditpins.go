package software

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// mendPins pins maps and programs again whose pins somebody has removed: without
// them the next process would find nothing of this one's.
func (d *Device) mendPins() {
	d.locked(func() {
		n, err := d.tables.repin()
		if n > 0 {
			d.mended.add(mendedPin, n)
			d.log.Warn("somebody has removed pins: they are put back", "dir", d.tables.dir, "pins", n)
		}
		if err != nil {
			d.log.Error("pins are missing: the next agent would begin without what this one holds", "dir", d.tables.dir, "err", err)
		}
	})
}

// repin makes the pins that are missing, and says how many were.
func (t *tables) repin() (made int, err error) {
	for _, m := range t.pinned() {
		info, err := m.Info()
		if err != nil {
			return made, fmt.Errorf("software: pins: %w", err)
		}
		n, err := t.pinAnew(filepath.Join(t.dir, info.Name), func(path string) error {
			same, err := m.Clone() // which was never pinned
			if err != nil {
				return err
			}
			defer same.Close()
			return same.Pin(path)
		})
		if made += n; err != nil {
			return made, err
		}
	}
	for name, p := range t.programs() {
		n, err := t.pinAnew(t.programPin(name, t.key), func(path string) error { return pinProgram(*p, path) })
		if made += n; err != nil {
			return made, err
		}
	}
	return made, nil
}

func pinProgram(p *ebpf.Program, path string) error {
	same, err := p.Clone()
	if err != nil {
		return err
	}
	defer same.Close()
	return same.Pin(path)
}

// pinAnew pins what has no pin there, on a bpffs that is there.
func (t *tables) pinAnew(path string, pin func(string) error) (made int, err error) {
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		return 0, err
	}
	above := t.dir
	var fs unix.Statfs_t
	for err = unix.Statfs(above, &fs); errors.Is(err, unix.ENOENT); err = unix.Statfs(above, &fs) {
		above = filepath.Dir(above)
	}
	if err == nil && fs.Type != unix.BPF_FS_MAGIC {
		err = fmt.Errorf("%s is on no bpffs any more", t.dir)
	}
	if err == nil {
		err = os.MkdirAll(t.dir, 0o700)
	}
	if err == nil {
		err = pin(path)
	}
	if err != nil {
		return 0, fmt.Errorf("software: pin: %w", err)
	}
	return 1, nil
}
