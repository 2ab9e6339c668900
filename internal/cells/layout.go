package cells

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"unsafe"

	"github.com/dpmip/dpmip/hwabstraction"
)

const (
	// CellSize is the size of one cell: two cache lines of 64 bytes, one of 128.
	CellSize = 128
	// MaxKey is the longest key in bytes. The shortest has one byte.
	MaxKey = 64

	headFixed = 24 // bytes of a head cell before key and value
	headRoom  = CellSize - headFixed
	tailFixed = 12 // bytes of a further cell before its part of the value
	tailRoom  = CellSize - tailFixed

	headerSize    = 128
	kindAt        = 40                                // of the header: its word for the kind
	formatMagic   = uint64(0x31_53_4c_4c_45_43_50_44) // "DPCELLS1"
	formatVersion = 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Kind says what is stored in an area, so that nothing else is read into it.
type Kind struct {
	Tag     [4]byte // what the area is for
	Version uint16  // version of the values' encoding, from 1; older ones are readable
	// MaxRecord is the largest key and value together, in bytes, 1 to 65535.
	MaxRecord int
}

func (k Kind) validate() error {
	if k.Version == 0 || k.MaxRecord < 1 || k.MaxRecord > math.MaxUint16 {
		return fmt.Errorf("cells: kind %q: version %d, records up to %d bytes: want a version, and 1 to %d", k.Tag[:], k.Version, k.MaxRecord, math.MaxUint16)
	}
	return nil
}

// geometry is how an area of a given size is divided; a function of the size.
type geometry struct {
	cells, buckets, words, summary int // words: of the bitmap; summary: of its second level
	bitmapAt, indexAt, cellsAt     int // byte offsets
}

func geometryOf(cells int) geometry {
	g := geometry{cells: cells, buckets: cells + cells/2 + 8}
	g.words = (cells + 63) / 64
	g.summary = (g.words + 63) / 64
	g.bitmapAt = headerSize
	g.indexAt = g.bitmapAt + 8*(g.words+g.summary)
	g.cellsAt = (g.indexAt + 8*g.buckets + CellSize - 1) &^ (CellSize - 1)
	return g
}

func (g geometry) size() int { return g.cellsAt + g.cells*CellSize }

// fit gives the geometry with the most cells that size bytes can hold.
func fit(size int) geometry {
	const perCell = CellSize + 12 // cell and buckets, without the bitmap
	n := max(0, (size-headerSize)/perCell)
	n = min(n, math.MaxUint32-1)
	for n > 0 && geometryOf(n).size() > size {
		n -= max(1, (geometryOf(n).size()-size)/(2*perCell))
	}
	return geometryOf(n)
}

// CellsFor is the number of cells that an entry takes whose key and value are
// record bytes together.
func CellsFor(record int) int {
	if record <= headRoom {
		return 1
	}
	return 1 + (record-headRoom+tailRoom-1)/tailRoom
}

// AreaSize is the number of bytes an area needs for entries that take cells
// cells in all, with the reserve that kind needs for its updates.
func AreaSize(kind Kind, cells int) int64 {
	return int64(geometryOf(cells + CellsFor(kind.MaxRecord)).size())
}

// header is the first 128 bytes of an area:
//
//	 0 magic       u64, stored last; 0: not formatted
//	 8 version     u32 of this layout
//	12 cell size   u32
//	16 cells       u32
//	20 tag         4 bytes
//	24 seed        u64 of the hash
//	32 checksum    u32 over 8..32
//	40 kind        u64: version (16 bits), maximal record (16), CRC-32C (32) of the other 4 bytes
//
// The kind is one word, so that a newer program can raise it in one store.
type header struct {
	version, cellSize, cells uint32
	seed                     uint64
	kind                     Kind
}

// encode gives everything but the magic.
func (h header) encode() [headerSize]byte {
	var b [headerSize]byte
	le := binary.LittleEndian
	le.PutUint32(b[8:], h.version)
	le.PutUint32(b[12:], h.cellSize)
	le.PutUint32(b[16:], h.cells)
	copy(b[20:], h.kind.Tag[:])
	le.PutUint64(b[24:], h.seed)
	le.PutUint32(b[32:], crc32.Checksum(b[8:32], castagnoli))
	le.PutUint64(b[kindAt:], h.kind.word())
	return b
}

func (k Kind) word() uint64 {
	var b [4]byte
	binary.LittleEndian.PutUint16(b[:], k.Version)
	binary.LittleEndian.PutUint16(b[2:], uint16(k.MaxRecord))
	return uint64(crc32.Checksum(b[:], castagnoli))<<32 | uint64(binary.LittleEndian.Uint32(b[:]))
}

func decodeHeader(b []byte) (header, error) {
	le := binary.LittleEndian
	if m := le.Uint64(b); m != formatMagic {
		return header{}, fmt.Errorf("cells: magic %#x, want %#x: %w", m, formatMagic, hwabstraction.ErrRegionCorrupt)
	}
	if le.Uint32(b[32:]) != crc32.Checksum(b[8:32], castagnoli) {
		return header{}, fmt.Errorf("cells: header checksum: %w", hwabstraction.ErrRegionCorrupt)
	}
	h := header{version: le.Uint32(b[8:]), cellSize: le.Uint32(b[12:]), cells: le.Uint32(b[16:]), seed: le.Uint64(b[24:])}
	if h.version > formatVersion {
		return header{}, fmt.Errorf("cells: format %d, this program reads up to %d: %w", h.version, formatVersion, hwabstraction.ErrRegionVersion)
	}
	h.kind = Kind{Tag: [4]byte(b[20:24]), Version: le.Uint16(b[kindAt:]), MaxRecord: int(le.Uint16(b[kindAt+2:]))}
	if h.kind.word() != le.Uint64(b[kindAt:]) {
		return header{}, fmt.Errorf("cells: checksum of the kind: %w", hwabstraction.ErrRegionCorrupt)
	}
	return h, nil
}

// check compares a header that was read with what is expected of the area.
func (h header) check(kind Kind, g geometry) error {
	switch {
	case h.kind.Tag != kind.Tag:
		return fmt.Errorf("cells: area holds %q, want %q: %w", h.kind.Tag[:], kind.Tag[:], hwabstraction.ErrRegionCorrupt)
	case h.kind.Version > kind.Version || h.kind.MaxRecord > kind.MaxRecord:
		return fmt.Errorf("cells: %q of version %d with records up to %d bytes, this program reads up to %d and %d: %w", kind.Tag[:],
			h.kind.Version, h.kind.MaxRecord, kind.Version, kind.MaxRecord, hwabstraction.ErrRegionVersion)
	case h.version == 0 || h.cellSize != CellSize:
		return fmt.Errorf("cells: impossible header (version %d, cell size %d): %w", h.version, h.cellSize, hwabstraction.ErrRegionCorrupt)
	case int64(h.cells) != int64(g.cells):
		return fmt.Errorf("cells: %d cells in an area that has room for %d: %w", h.cells, g.cells, hwabstraction.ErrRegionLayout)
	}
	return nil
}

// divide gives a Table whose parts are slices over the area's own memory.
func divide(area []byte, kind Kind) (*Table, error) {
	if err := kind.validate(); err != nil {
		return nil, err
	}
	g := fit(len(area))
	reserve := CellsFor(kind.MaxRecord)
	if g.cells <= reserve {
		return nil, fmt.Errorf("cells: area of %d bytes has %d cells, want more than %d", len(area), g.cells, reserve)
	}
	if uintptr(unsafe.Pointer(&area[0]))%8 != 0 {
		return nil, fmt.Errorf("cells: area is not aligned to 8 bytes")
	}
	words := func(at, n int) []uint64 { return unsafe.Slice((*uint64)(unsafe.Pointer(&area[at])), n) }
	return &Table{
		geometry: g, maxRecord: kind.MaxRecord, reserve: reserve,
		scratch: make([]byte, 0, kind.MaxRecord), record: make([]byte, 0, kind.MaxRecord),

		head:  area[:headerSize],
		magic: &words(0, 1)[0], kind: &words(kindAt, 1)[0],
		free:  bitmap{words: words(g.bitmapAt, g.words), full: words(g.bitmapAt+8*g.words, g.summary), size: g.cells},
		index: index{slots: words(g.indexAt, g.buckets)},
		cells: area[g.cellsAt : g.cellsAt+g.cells*CellSize],
	}, nil
}
