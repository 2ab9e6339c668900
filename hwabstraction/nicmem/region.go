package nicmem

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"unsafe"

	"github.com/dpmip/dpmip/hwabstraction"
	"golang.org/x/sys/unix"
)

// Region is an open region. It satisfies hwabstraction.Region; Bytes is the
// memory of all of it, header included, and users take their Area instead.
// Its methods may be called from any goroutine, except Close.
type Region struct {
	path   string
	medium string
	fd     int
	mem    []byte
	header header
	origin hwabstraction.RegionOrigin
}

var (
	_ hwabstraction.Region = (*Region)(nil)
	_ hwabstraction.Region = (*Area)(nil)
)

// Open opens the region of c, or makes it where there is none. What an earlier
// boot left is discarded (Origin tells).
//
// Errors: ErrRegionBusy with the holder's process number where the kernel tells
// it; ErrRegionVersion and ErrRegionCorrupt, which Reformat mends at the price
// of the content; ErrRegionLayout if size or areas are not those of c, which
// either the old configuration or Reformat mends; ErrRegionFull if the file
// system has no room. The file is left as it is in all these cases.
func Open(c Config) (*Region, error) { return open(c, false) }

// Reformat makes the region of c anew, all zeros, whatever was there. It still
// refuses one that another process holds (ErrRegionBusy).
func Reformat(c Config) (*Region, error) { return open(c, true) }

func open(c Config, discard bool) (_ *Region, err error) {
	r := &Region{path: c.Path, fd: -1}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("nicmem: region %s: %w", c.Path, err), r.Close())
		}
	}()
	if c.BootID == ([16]byte{}) {
		if c.BootID, err = bootID(); err != nil {
			return nil, err
		}
	}
	file, err := r.lock()
	if err != nil {
		return nil, err
	}
	size := roundUp(c.Size, file.page)
	extents, err := c.layout(size)
	if err != nil {
		return nil, err
	}
	if file.size == 0 || discard {
		return r, r.create(size, extents, c.BootID)
	}
	if err := r.mapFile(file.size); err != nil {
		return nil, err
	}
	if r.magic().Load() == 0 { // whoever made it died before it was finished
		return r, r.create(size, extents, c.BootID)
	}
	if r.header, err = decodeHeader(r.mem, file.size); err != nil {
		return nil, fmt.Errorf("%w (reformat it to discard its content)", err)
	}
	if r.header.size != size || !slices.Equal(r.header.areas, extents) {
		return nil, fmt.Errorf("has %d bytes and areas %s, but %d bytes and areas %s are configured: %w (restore the configuration, or reformat it to discard its content)",
			r.header.size, describe(r.header.areas), size, describe(extents), hwabstraction.ErrRegionLayout)
	}
	r.adopt(c.BootID)
	return r, nil
}

// create sizes the file, reserves its memory and writes the header.
func (r *Region) create(size int64, extents []extent, boot [16]byte) error {
	if err := r.unmap(); err != nil {
		return err
	}
	// Emptied first: what was there does not count as used, and reads as zeros.
	if err := unix.Ftruncate(r.fd, 0); err != nil {
		return fmt.Errorf("truncate: %w", err)
	}
	if err := unix.Ftruncate(r.fd, size); err != nil {
		return fmt.Errorf("size of %d bytes: %w", size, err)
	}
	// Reserved now: writing to a page that cannot be had later is a fault.
	if err := unix.Fallocate(r.fd, 0, 0, size); err != nil {
		if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.ENOMEM) {
			err = fmt.Errorf("%w: %w", hwabstraction.ErrRegionFull, err)
		}
		return errors.Join(fmt.Errorf("reserve %d bytes on %s: %w", size, r.medium, err), unix.Ftruncate(r.fd, 0))
	}
	if err := r.mapFile(size); err != nil {
		return err
	}
	r.header = header{size: size, areas: extents}
	if _, err := rand.Read(r.header.id[:]); err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	copy(r.mem[8:], r.header.encode()[8:])
	setBoot(r.mem, boot)
	r.magic().Store(headerMagic)
	r.origin = hwabstraction.RegionCreated
	return nil
}

// adopt keeps what this boot left, and discards what an earlier one did. The
// boot identity is written after that, so that a crash in between repeats it.
func (r *Region) adopt(boot [16]byte) {
	if bootOf(r.mem) == boot {
		r.origin = hwabstraction.RegionAdopted
		return
	}
	clear(r.mem[headerSize:])
	setBoot(r.mem, boot)
	r.origin = hwabstraction.RegionRebooted
}

// magic is the first word of the region; pages are aligned.
func (r *Region) magic() *atomic.Uint64 { return (*atomic.Uint64)(unsafe.Pointer(&r.mem[0])) }

func (r *Region) mapFile(size int64) error {
	if size < headerSize {
		return fmt.Errorf("file of %d bytes, want at least a header of %d: %w (reformat it to discard its content)", size, headerSize, hwabstraction.ErrRegionCorrupt)
	}
	mem, err := unix.Mmap(r.fd, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return fmt.Errorf("map %d bytes: %w", size, err)
	}
	r.mem = mem
	return nil
}

func (r *Region) unmap() error {
	if r.mem == nil {
		return nil
	}
	mem := r.mem
	r.mem = nil
	if err := unix.Munmap(mem); err != nil {
		return fmt.Errorf("unmap: %w", err)
	}
	return nil
}

// Bytes is the memory of the whole region.
func (r *Region) Bytes() []byte { return r.mem }

// Size is the length of Bytes.
func (r *Region) Size() int64 { return r.header.size }

// Sync flushes the whole region.
func (r *Region) Sync() error { return r.sync(r.mem) }

func (r *Region) sync(mem []byte) error {
	if len(mem) == 0 {
		return nil
	}
	if err := unix.Msync(mem, unix.MS_SYNC); err != nil {
		return fmt.Errorf("nicmem: region %s: sync: %w", r.path, err)
	}
	return nil
}

// Identity names this creation of the region.
func (r *Region) Identity() hwabstraction.RegionIdentity {
	return hwabstraction.RegionIdentity{ID: r.header.id}
}

// Origin says where the content came from.
func (r *Region) Origin() hwabstraction.RegionOrigin { return r.origin }

// Path is the region's file.
func (r *Region) Path() string { return r.path }

// Medium is the kind of file system: "tmpfs", "hugetlbfs", or "other", which is
// slower and may be written to a disk.
func (r *Region) Medium() string { return r.medium }

// Close unmaps the region and all its areas and releases the lock.
func (r *Region) Close() error {
	err := r.unmap()
	if r.fd >= 0 {
		err = errors.Join(err, unix.Close(r.fd))
		r.fd = -1
	}
	return err
}

// Area gives one of the region's areas.
func (r *Region) Area(name string) (*Area, error) {
	for _, e := range r.header.areas {
		if e.name == name {
			end := e.offset + e.size
			return &Area{region: r, name: name, mem: r.mem[e.offset:end:end]}, nil
		}
	}
	return nil, fmt.Errorf("nicmem: region %s: no area %q, there are %s", r.path, name, describe(r.header.areas))
}

func describe(extents []extent) string {
	s := ""
	for i, e := range extents {
		if i > 0 {
			s += ", "
		}
		s += fmt.Sprintf("%s (%d bytes)", e.name, e.size)
	}
	return s
}

// Area is a part of a region for one user. It ends with the region's Close.
type Area struct {
	region *Region
	name   string
	mem    []byte
}

// Bytes is the memory of the area, aligned to 4096 bytes.
func (a *Area) Bytes() []byte { return a.mem }

// Size is the length of Bytes.
func (a *Area) Size() int64 { return int64(len(a.mem)) }

// Sync flushes the area.
func (a *Area) Sync() error { return a.region.sync(a.mem) }

// Identity names the region's creation and the area.
func (a *Area) Identity() hwabstraction.RegionIdentity {
	return hwabstraction.RegionIdentity{ID: a.region.header.id, Area: a.name}
}

// Origin is that of the region.
func (a *Area) Origin() hwabstraction.RegionOrigin { return a.region.origin }

// Close does nothing: the memory is the region's.
func (a *Area) Close() error { return nil }
