package nicmem

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/dpmip/dpmip/hwabstraction"
)

const (
	headerSize    = 4096
	headerMagic   = uint64(0x31_4d_45_4d_43_49_4e_44) // "DNICMEM1"
	headerVersion = 1
	areaAlign     = 4096

	// MaxAreas is the number of areas that a region can have.
	MaxAreas = 8
	// MaxAreaName is the longest name of an area, in bytes.
	MaxAreaName = 16

	areaTableAt = 64
	areaEntry   = MaxAreaName + 16
	checksumAt  = areaTableAt + MaxAreas*areaEntry
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// header is the first page of a region, all integers little-endian:
//
//	  0 magic     u64, stored last when the region is made
//	  8 version   u32
//	 12 areas     u32, their number
//	 16 size      u64, of the whole region
//	 24 identity  16 bytes, random
//	 64 areas     8 of them: name (16 bytes, padded with zeros), offset u64, size u64
//	320 checksum  CRC-32C over 8..320
//	384 boot      16 bytes: boot identity, stored when the areas are fit for that boot
//	400 checksum  u32: CRC-32C of the boot identity
type header struct {
	size  int64
	id    [16]byte
	areas []extent
}

const bootAt = 384

// extent is where an area lies in the region.
type extent struct {
	name         string
	offset, size int64
}

// encode gives everything but the magic and the boot identity.
func (h header) encode() []byte {
	b := make([]byte, bootAt)
	le := binary.LittleEndian
	le.PutUint32(b[8:], headerVersion)
	le.PutUint32(b[12:], uint32(len(h.areas)))
	le.PutUint64(b[16:], uint64(h.size))
	copy(b[24:], h.id[:])
	for i, a := range h.areas {
		e := b[areaTableAt+i*areaEntry:]
		copy(e[:MaxAreaName], a.name)
		le.PutUint64(e[MaxAreaName:], uint64(a.offset))
		le.PutUint64(e[MaxAreaName+8:], uint64(a.size))
	}
	le.PutUint32(b[checksumAt:], crc32.Checksum(b[8:checksumAt], castagnoli))
	return b
}

// decodeHeader reads the header of a region of size bytes.
func decodeHeader(b []byte, size int64) (header, error) {
	le := binary.LittleEndian
	if m := le.Uint64(b); m != headerMagic {
		return header{}, fmt.Errorf("header: magic %#x, want %#x: %w", m, headerMagic, hwabstraction.ErrRegionCorrupt)
	}
	if got, want := crc32.Checksum(b[8:checksumAt], castagnoli), le.Uint32(b[checksumAt:]); got != want {
		return header{}, fmt.Errorf("header: checksum %#08x, want %#08x: %w", got, want, hwabstraction.ErrRegionCorrupt)
	}
	if v := le.Uint32(b[8:]); v > headerVersion {
		return header{}, fmt.Errorf("header: version %d, this program reads up to %d: %w", v, headerVersion, hwabstraction.ErrRegionVersion)
	}
	h := header{size: int64(le.Uint64(b[16:])), id: [16]byte(b[24:])}
	n := le.Uint32(b[12:])
	if h.size != size || n > MaxAreas {
		return header{}, fmt.Errorf("header: %d areas in %d bytes, but the file has %d bytes: %w", n, h.size, size, hwabstraction.ErrRegionCorrupt)
	}
	for i := range int(n) {
		e := b[areaTableAt+i*areaEntry:]
		a := extent{
			name:   string(bytes.TrimRight(e[:MaxAreaName], "\x00")),
			offset: int64(le.Uint64(e[MaxAreaName:])),
			size:   int64(le.Uint64(e[MaxAreaName+8:])),
		}
		if a.offset < headerSize || a.offset%areaAlign != 0 || a.size < 0 || a.offset > size || a.size > size-a.offset {
			return header{}, fmt.Errorf("header: area %q at %d with %d bytes lies outside: %w", a.name, a.offset, a.size, hwabstraction.ErrRegionCorrupt)
		}
		h.areas = append(h.areas, a)
	}
	return h, nil
}

// bootOf gives the boot for which the areas are fit; the zero one if none.
func bootOf(b []byte) (boot [16]byte) {
	copy(boot[:], b[bootAt:])
	if crc32.Checksum(boot[:], castagnoli) != binary.LittleEndian.Uint32(b[bootAt+16:]) {
		return [16]byte{}
	}
	return boot
}

func setBoot(b []byte, boot [16]byte) {
	copy(b[bootAt:], boot[:])
	binary.LittleEndian.PutUint32(b[bootAt+16:], crc32.Checksum(boot[:], castagnoli))
}
