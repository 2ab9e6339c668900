package hwabstraction

import (
	"encoding/hex"
	"errors"
	"fmt"
)

// Region is a bounded piece of memory that outlives the process using it: NIC
// memory on a DPU, a file on tmpfs or hugetlbfs elsewhere. What is stored in it
// survives kill -9 and an upgrade of the program; it does not survive a reboot
// of the card (Origin says which of these happened).
//
// The size is fixed when the region is created and never changes. A region has
// one owner at a time: opening it takes an exclusive lock that the kernel drops
// when the owner dies.
//
// The bytes are plain memory. A user that wants its data to be whole after a
// crash at any instruction publishes it with one aligned 8-byte atomic store;
// nothing larger is written atomically.
type Region interface {
	// Bytes is the memory itself, Size bytes long and aligned to 4096 bytes.
	// Every write to it is kept at once, without Sync, as far as a crash of the
	// process is concerned. It is valid until Close: touching it afterwards is a
	// programmer's mistake and faults.
	Bytes() []byte

	// Size is the length of Bytes, in bytes.
	Size() int64

	// Sync blocks until the bytes have reached whatever keeps them: nothing to
	// do for tmpfs, a flush for memory behind a cache. It is needed to survive
	// more than the death of the process only.
	Sync() error

	// Identity tells regions apart; it stays the same from creation on and
	// changes when the region is formatted again.
	Identity() RegionIdentity

	// Origin says where the content at the time of opening came from.
	Origin() RegionOrigin

	// Close ends the use of the memory and releases the lock. The content
	// stays. A second Close does nothing. An area that was carved out of a
	// larger region is closed with that region: its own Close does nothing.
	Close() error
}

// RegionIdentity names one creation of a region, and the area within it.
type RegionIdentity struct {
	ID   [16]byte // random, drawn when the region was formatted
	Area string   // name of the area; "" for the whole region
}

func (i RegionIdentity) String() string {
	if i.Area == "" {
		return hex.EncodeToString(i.ID[:])
	}
	return hex.EncodeToString(i.ID[:]) + "/" + i.Area
}

// RegionOrigin says where the content of a freshly opened region came from.
// The zero value is invalid.
type RegionOrigin uint8

// Origins.
const (
	// RegionCreated: nothing was there, the region is all zeros.
	RegionCreated RegionOrigin = iota + 1
	// RegionAdopted: an earlier process of this boot left the content. The
	// rules it speaks of may still be programmed.
	RegionAdopted
	// RegionRebooted: the content was of an earlier boot, whose rules are gone;
	// it was discarded and the areas are all zeros.
	RegionRebooted
)

func (o RegionOrigin) String() string {
	switch o {
	case RegionCreated:
		return "created"
	case RegionAdopted:
		return "adopted"
	case RegionRebooted:
		return "rebooted"
	}
	return fmt.Sprintf("invalid(%d)", uint8(o))
}

// Errors of regions and of what is stored in them, for errors.Is.
var (
	// ErrRegionFull: the fixed space is used up. Nothing was changed.
	ErrRegionFull = errors.New("region is full")
	// ErrRegionVersion: a newer program wrote the region; it is left untouched.
	ErrRegionVersion = errors.New("region has a newer format")
	// ErrRegionCorrupt: a header or a record does not match its checksum.
	ErrRegionCorrupt = errors.New("region is corrupt")
	// ErrRegionBusy: another process holds the region.
	ErrRegionBusy = errors.New("region is in use")
	// ErrRegionLayout: the region exists with another size or other areas than
	// the ones asked for.
	ErrRegionLayout = errors.New("region has another layout")
)
