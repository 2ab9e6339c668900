package software

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
)

// Programs are pinned as their maps are: the kernel takes a tenth of a second
// to verify them, which a process that finds them as it would load them need
// not wait for.

// programPins begins the names of the pins; the program's name and its key
// follow.
const programPins = "prog-"

// programKey names what programs are made of: the object and the constants that
// are set in it. Pins do not outlive the kernel.
func programKey(constants ...uint32) string {
	h := sha256.New()
	h.Write(_BpfBytes)
	for _, c := range constants {
		h.Write(binary.LittleEndian.AppendUint32(nil, c))
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:8])
}

// pinnedConntrack gives the conntrackOptions that pinned programs were loaded
// with: those of this kernel, whose types need not be read for it then. Without
// conntrack they are, because its module may have come since.
func pinnedConntrack(dir string, mark, fibFlags uint32) (uint32, bool) {
	t := tables{dir: dir}
	for _, size := range []uint32{ctOptsZone, ctOpts} {
		if _, err := os.Stat(t.programPin("fabric_in", programKey(size, mark, fibFlags))); err == nil {
			return size, true
		}
	}
	return 0, false
}

// load loads maps and programs. Where programs of this key are pinned, and use
// these very maps, they are taken.
func (t *tables) load(spec *ebpf.CollectionSpec, opts *ebpf.CollectionOptions, key string) error {
	if err := spec.LoadAndAssign(&t.bpfMaps, opts); err != nil {
		return err
	}
	if t.takePrograms(key) {
		return nil
	}
	if err := t.bpfMaps.Close(); err != nil {
		return err
	}
	if err := spec.LoadAndAssign(&t.bpfObjects, opts); err != nil {
		return err
	}
	return t.pinPrograms(key)
}

// programs are all of them by name.
func (t *tables) programs() map[string]**ebpf.Program {
	return map[string]**ebpf.Program{"fabric_in": &t.FabricIn, "vm_in": &t.VmIn}
}

func (t *tables) programPin(name, key string) string {
	return filepath.Join(t.dir, programPins+name+"-"+key)
}

// takePrograms takes pinned programs, all or none.
func (t *tables) takePrograms(key string) bool {
	ours, err := t.mapIDs()
	for name, p := range t.programs() {
		if err != nil {
			break
		}
		if *p, err = ebpf.LoadPinnedProgram(t.programPin(name, key), nil); err == nil {
			err = uses(*p, ours)
		}
	}
	if err == nil {
		return true
	}
	for _, p := range t.programs() {
		if *p != nil {
			(*p).Close()
			*p = nil
		}
	}
	return false
}

// pinned are the maps that are pinned, each under its name.
func (t *tables) pinned() []*ebpf.Map {
	return []*ebpf.Map{
		t.Counters, t.Drops, t.Dsts, t.Flows, t.Frags, t.Groups, t.Judged, t.Mtus, t.Ports, t.Rules, t.Sources, t.Trapped, t.Traps,
	}
}

// mapIDs are the kernel's numbers of the pinned maps, by name.
func (t *tables) mapIDs() (map[string]ebpf.MapID, error) {
	ids := map[string]ebpf.MapID{}
	for _, m := range t.pinned() {
		info, err := m.Info()
		if err != nil {
			return nil, err
		}
		id, ok := info.ID()
		if !ok {
			return nil, ebpf.ErrNotSupported
		}
		ids[info.Name] = id
	}
	return ids, nil
}

// uses is an error where a program uses a map of one of these names that is
// another. Constants and scratch space are its own.
func uses(p *ebpf.Program, ours map[string]ebpf.MapID) error {
	info, err := p.Info()
	if err != nil {
		return err
	}
	used, ok := info.MapIDs()
	if !ok {
		return ebpf.ErrNotSupported
	}
	for _, id := range used {
		name, err := mapName(id)
		if err != nil {
			return err
		}
		if our, ok := ours[name]; ok && our != id {
			return fmt.Errorf("software: a pinned program uses another map %q", name)
		}
	}
	return nil
}

func mapName(id ebpf.MapID) (string, error) {
	m, err := ebpf.NewMapFromID(id)
	if err != nil {
		return "", err
	}
	defer m.Close()
	info, err := m.Info()
	if err != nil {
		return "", err
	}
	return info.Name, nil
}

// pinPrograms pins what was loaded, and forgets what earlier processes have.
func (t *tables) pinPrograms(key string) error {
	old, err := filepath.Glob(filepath.Join(t.dir, programPins+"*"))
	if err != nil {
		return err
	}
	for _, name := range old {
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	for name, p := range t.programs() {
		if err := (*p).Pin(t.programPin(name, key)); err != nil {
			return fmt.Errorf("pin program %s: %w", name, err)
		}
	}
	return nil
}
