package software

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/internal/kernelbtf"
)

// tables are the loaded programs and their pinned maps.
type tables struct {
	bpfObjects
	dir    string
	key    string // of the programs' pins
	rules  *mapped[ruleSlot]
	groups *mapped[instSlot]

	conntrack uint32 // as conntrackOptions says
}

// mapped is a pinned array that is also plain memory. Only elements below the
// last one asked for with reach are in this process's memory: a table for many
// rules costs nothing until they come.
type mapped[T any] struct {
	raw   []byte // the whole array's addresses
	at    []T    // elements that reach has not been asked for must not be touched
	fd    int
	ready int // bytes that are mapped
}

// window is how many bytes of an array are mapped at a time.
const window = 256 << 10

func mapArray[T any](m *ebpf.Map) (*mapped[T], error) {
	var v T
	if int(unsafe.Sizeof(v)) != int(m.ValueSize()) {
		return nil, fmt.Errorf("software: map %s has values of %d bytes, want %d", m, m.ValueSize(), unsafe.Sizeof(v))
	}
	n := int(m.MaxEntries())
	size := (n*int(m.ValueSize()) + os.Getpagesize() - 1) &^ (os.Getpagesize() - 1)
	raw, err := unix.Mmap(-1, 0, size, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("software: addresses for map %s: %w", m, err)
	}
	out := &mapped[T]{raw: raw, at: unsafe.Slice((*T)(unsafe.Pointer(&raw[0])), n), fd: m.FD()}
	if err := out.reach(0); err != nil {
		return nil, errors.Join(err, out.close())
	}
	return out, nil
}

// reach makes the elements up to i accessible.
func (m *mapped[T]) reach(i uint32) error {
	var v T
	end := (int(i) + 1) * int(unsafe.Sizeof(v))
	if end <= m.ready {
		return nil
	}
	end = min((end+window-1)/window*window, len(m.raw))
	_, err := unix.MmapPtr(m.fd, int64(m.ready), unsafe.Pointer(&m.raw[m.ready]), uintptr(end-m.ready), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_FIXED)
	if err != nil {
		return fmt.Errorf("software: bytes %d to %d of a map into memory: %w", m.ready, end, err)
	}
	m.ready = end
	return nil
}

func (m *mapped[T]) close() error {
	if m == nil || m.raw == nil {
		return nil
	}
	raw := m.raw
	m.raw, m.at = nil, nil
	return unix.Munmap(raw)
}

// loadTables mounts the pins' file system and loads the programs over the maps
// that are pinned there, or over new ones.
func loadTables(cfg Config, fibFlags uint32) (*tables, error) {
	dir, err := pinDir(cfg.BPFDir)
	if err != nil {
		return nil, err
	}
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("software: %w", err)
	}
	spec, err := loadBpf()
	if err != nil {
		return nil, fmt.Errorf("software: eBPF objects: %w", err)
	}
	resize(spec, cfg, dir)
	t := &tables{dir: dir}
	if err := kernelbtf.Use(func(types *btf.Cache) error { return t.loadWith(types, spec, cfg, fibFlags) }); err != nil {
		return nil, fmt.Errorf("software: %w", err)
	}
	if err := t.mapMemory(); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

// loadWith sets the programs' constants for this kernel and loads them. Where
// they are pinned the kernel's types are not read.
func (t *tables) loadWith(types *btf.Cache, spec *ebpf.CollectionSpec, cfg Config, fibFlags uint32) error {
	var known bool
	if t.conntrack, known = pinnedConntrack(t.dir, uint32(cfg.Mark), fibFlags); !known {
		t.conntrack = conntrackOptions(types)
	}
	for name, value := range map[string]uint32{"ct_opts_size": t.conntrack, "mark_base": uint32(cfg.Mark) << 24, "fib_flags": fibFlags} {
		if err := spec.Variables[name].Set(value); err != nil {
			return err
		}
	}
	opts := &ebpf.CollectionOptions{Maps: ebpf.MapOptions{PinPath: t.dir}, Cache: types}
	t.key = programKey(t.conntrack, uint32(cfg.Mark), fibFlags)
	if err := t.load(spec, opts, t.key); err != nil {
		return fmt.Errorf("load programs: %w", err)
	}
	return nil
}

func (t *tables) mapMemory() (err error) {
	if t.rules, err = mapArray[ruleSlot](t.Rules); err != nil {
		return err
	}
	t.groups, err = mapArray[instSlot](t.Groups)
	return err
}

func (t *tables) close() error {
	return errors.Join(t.rules.close(), t.groups.close(), t.bpfObjects.Close())
}

// resize sets the sizes of the configuration, or those that are pinned: a
// table cannot grow while it forwards.
func resize(spec *ebpf.CollectionSpec, cfg Config, dir string) {
	sizes := map[string]int{
		"rules": cfg.MaxRules, "groups": cfg.MaxRules, "counters": cfg.MaxRules,
		"dsts": cfg.MaxRules, "sources": cfg.MaxRules, "flows": cfg.MaxFlows,
	}
	for name, n := range sizes {
		spec.Maps[name].MaxEntries = uint32(n)
		m, err := ebpf.LoadPinnedMap(filepath.Join(dir, name), nil)
		if err != nil {
			continue
		}
		spec.Maps[name].MaxEntries = m.MaxEntries()
		m.Close()
	}
}

// pinDir returns the directory for this layout's pins on a bpffs.
func pinDir(base string) (string, error) {
	if err := os.MkdirAll(base, 0o700); err != nil {
		return "", fmt.Errorf("software: pins: %w", err)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(base, &fs); err != nil {
		return "", fmt.Errorf("software: pins: %s: %w", base, err)
	}
	if fs.Type != unix.BPF_FS_MAGIC {
		if err := unix.Mount("bpf", base, "bpf", 0, "mode=0700"); err != nil {
			return "", fmt.Errorf("software: mount bpffs on %s: %w", base, err)
		}
	}
	dir := filepath.Join(base, fmt.Sprintf("v%d", layoutVersion))
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", fmt.Errorf("software: pins: %w", err)
	}
	return dir, nil
}

// Sizes of the kernel's struct bpf_ct_opts that the programs can use: with zones,
// and without.
const (
	ctOptsZone = 16
	ctOpts     = 12
)

// conntrackOptions is the size of the kernel's struct bpf_ct_opts that the
// programs shall use; 0 = no conntrack.
func conntrackOptions(types *btf.Cache) uint32 {
	spec, err := types.Kernel()
	if err != nil {
		return 0
	}
	var s *btf.Struct
	if err := spec.TypeByName("bpf_ct_opts", &s); err != nil {
		return moduleConntrackOptions(types)
	}
	return optionSize(s)
}

func moduleConntrackOptions(types *btf.Cache) uint32 {
	spec, err := types.Module("nf_conntrack")
	if err != nil {
		return 0
	}
	var s *btf.Struct
	if err := spec.TypeByName("bpf_ct_opts", &s); err != nil {
		return 0
	}
	return optionSize(s)
}

func optionSize(s *btf.Struct) uint32 {
	if s.Size >= ctOptsZone {
		return ctOptsZone
	}
	return ctOpts
}
