package cells

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"unsafe"

	"github.com/dpmip/dpmip/hwabstraction"
)

// Table is the map. It is not safe for concurrent use: one goroutine owns it.
// Apart from the Table itself nothing is on the Go heap, whatever it holds.
type Table struct {
	geometry geometry
	head     []byte  // the area's header
	magic    *uint64 // words of the header
	kind     *uint64
	free     bitmap
	index    index
	cells    []byte

	seed       uint64 // of the hash
	maxRecord  int
	reserve    int    // cells kept free, so that an update always finds room
	generation uint64 // of the last entry written
	entries    int
	torn       int
	superseded int
	scratch    []byte // a record that was read
	record     []byte // a record to be written
	hook       func() // tests: called after every store
}

// Stats is a snapshot of a Table's use.
type Stats struct {
	Entries   int // keys present
	Cells     int // cells of the area
	UsedCells int
	// FreeCells can be used; Reserve of them only by updates that do not grow.
	FreeCells int
	Reserve   int
	// Torn counts what Open threw away: entries whose checksum or content was
	// wrong.
	Torn int
	// Superseded counts old versions of entries that Open threw away because
	// the writer had died after publishing the new one.
	Superseded int
}

// Stats gives the present figures.
func (t *Table) Stats() Stats {
	return Stats{
		Entries: t.entries, Cells: t.free.size, UsedCells: t.free.used, FreeCells: t.free.free(),
		Reserve: t.reserve, Torn: t.torn, Superseded: t.superseded,
	}
}

// Len is the number of entries.
func (t *Table) Len() int { return t.entries }

// SetStoreHook has fn called after every single store into the area; copies
// become stores of at most 8 bytes. It is how tests look at the area at every
// instant at which a writer may die.
func (t *Table) SetStoreHook(fn func()) { t.hook = fn }

// Get gives the value of key, valid until the next call of any method. The
// error is ErrRegionCorrupt if the entry is there but damaged.
func (t *Table) Get(key []byte) (value []byte, found bool, err error) {
	head, found := t.find(hashOf(t.seed, key), key)
	if !found {
		return nil, false, nil
	}
	record, keyLen, err := t.load(head, t.scratch)
	if err != nil {
		return nil, false, err
	}
	return record[keyLen:], true, nil
}

// Put stores value under key, replacing what was there. The error is
// ErrRegionFull if there is no room; the old value then stays. An update that
// needs no more cells than before never finds the area full.
func (t *Table) Put(key, value []byte) error {
	n := len(key) + len(value)
	if len(key) == 0 || len(key) > MaxKey {
		return fmt.Errorf("cells: key of %d bytes, want 1 to %d", len(key), MaxKey)
	}
	if n > t.maxRecord {
		return fmt.Errorf("cells: record of %d bytes, want at most %d", n, t.maxRecord)
	}
	hash := hashOf(t.seed, key)
	old, found := t.find(hash, key)
	held := 0 // cells of the old value
	if found {
		held = t.chainLen(old)
	}
	if free, need := t.free.free(), CellsFor(n); need > free || need > held && free-(need-held) < t.reserve {
		return fmt.Errorf("cells: %d of %d cells in use, %d kept for updates: %w", t.free.used, t.free.size, t.reserve, hwabstraction.ErrRegionFull)
	}
	t.record = append(append(t.record[:0], key...), value...)
	slot, _ := t.index.find(hash, func(head uint32) bool { return found && head == old })
	t.index.set(slot, hash, t.write(hash, t.record, len(key)))
	t.stored()
	if found {
		t.retire(old)
	} else {
		t.entries++
	}
	return nil
}

// Delete removes key and says whether it was there.
func (t *Table) Delete(key []byte) bool {
	hash := hashOf(t.seed, key)
	head, found := t.find(hash, key)
	if !found {
		return false
	}
	slot, _ := t.index.find(hash, func(h uint32) bool { return h == head })
	t.index.remove(slot)
	t.stored()
	t.retire(head)
	t.entries--
	return true
}

// Range calls fn with every entry until it returns false. Key and value are
// valid during the call only. fn may read, and delete the entry it
// is given; it must not put any. Damaged entries are left out.
func (t *Table) Range(fn func(key, value []byte) bool) {
	buf := make([]byte, 0, t.maxRecord)
	for i := range uint32(t.free.size) {
		if !t.free.isUsed(i) || t.commit(i).Load() == 0 {
			continue
		}
		if record, keyLen, err := t.load(i, buf); err == nil && !fn(record[:keyLen], record[keyLen:]) {
			return
		}
	}
}

// home is the first of the two cells where the head of a key is looked for, and
// put if one of them is free. Two, because an update needs a second one.
func (t *Table) home(hash uint32) uint32 {
	return uint32(uint64(hash)*uint64(t.free.size/2)>>32) * 2
}

// find gives the head cell of key. Most are at home, which saves the index and
// with it one of two cache misses; that is what a lookup costs in a large area.
func (t *Table) find(hash uint32, key []byte) (head uint32, found bool) {
	home := t.home(hash)
	if t.holds(home, key) {
		return home, true
	}
	if t.holds(home+1, key) {
		return home + 1, true
	}
	slot, found := t.index.find(hash, func(head uint32) bool { return t.holds(head, key) })
	if !found {
		return 0, false
	}
	return t.index.head(slot), true
}

// holds says whether cell i is a head with that key.
func (t *Table) holds(i uint32, key []byte) bool {
	c := t.cell(i)
	return int(binary.LittleEndian.Uint16(c[12:])) == len(key) && bytes.Equal(c[headFixed:headFixed+len(key)], key) &&
		t.commit(i).Load() != 0
}

func (t *Table) cell(i uint32) *[CellSize]byte {
	return (*[CellSize]byte)(t.cells[int(i)*CellSize:])
}

// commit is the commit word of a cell. Areas are aligned to 8 bytes.
func (t *Table) commit(i uint32) *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Pointer(t.cell(i)))
}
