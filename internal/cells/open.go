package cells

import (
	"encoding/binary"
	"math/rand/v2"
	"sync/atomic"
)

// Format makes area an empty Table, whatever it held. The area must be aligned
// to 8 bytes; all of it is written.
func Format(area []byte, kind Kind) (*Table, error) {
	t, err := divide(area, kind)
	if err != nil {
		return nil, err
	}
	// Without its magic the area is nothing, at whatever point this is cut off.
	atomic.StoreUint64(t.magic, 0)
	clear(area[8:])
	t.seed = rand.Uint64()
	h := header{version: formatVersion, kind: kind, cellSize: CellSize, cells: uint32(t.geometry.cells), seed: t.seed}.encode()
	copy(area[8:], h[8:])
	atomic.StoreUint64(t.magic, formatMagic)
	t.free.reset()
	return t, nil
}

// Open reads a Table that an earlier process has left in area, at whatever
// instruction that one died. Every entry is checked; torn ones are thrown away
// and counted. accept, if not nil, judges the entries whose checksum is right;
// what it refuses is thrown away and counted as well.
//
// An area whose first word is 0 was never formatted: it becomes an empty Table.
// Errors: ErrRegionCorrupt for a damaged header (use Format to discard the
// area), ErrRegionVersion for one that a newer program wrote, ErrRegionLayout
// for one of another size.
func Open(area []byte, kind Kind, accept func(key, value []byte) bool) (*Table, error) {
	t, err := divide(area, kind)
	if err != nil {
		return nil, err
	}
	if atomic.LoadUint64(t.magic) == 0 {
		return Format(area, kind)
	}
	h, err := decodeHeader(t.head)
	if err != nil {
		return nil, err
	}
	if err := h.check(kind, t.geometry); err != nil {
		return nil, err
	}
	t.seed = h.seed
	t.recover(accept)
	if h.kind != kind { // an older program's; from now on it may hold what that one cannot read
		atomic.StoreUint64(t.kind, kind.word())
	}
	return t, nil
}

// recover builds bitmap and index from the commit words.
func (t *Table) recover(accept func(key, value []byte) bool) {
	t.free.reset()
	clear(t.index.slots)
	for i := range uint32(t.free.size) {
		if t.commit(i).Load() == 0 {
			continue
		}
		record, keyLen, err := t.load(i, t.scratch)
		if err != nil || accept != nil && !accept(record[:keyLen], record[keyLen:]) || !t.claim(i, CellsFor(len(record))) {
			t.commit(i).Store(0)
			t.torn++
			continue
		}
		t.adopt(i, record[:keyLen])
	}
}

// claim marks the n cells of a chain used, or none of them if one is in use
// already.
func (t *Table) claim(head uint32, n int) bool {
	for i, c := 0, head; i < n; i++ {
		if t.free.isUsed(c) {
			t.release(head, i)
			return false
		}
		t.free.take(c)
		c, _ = t.next(c)
	}
	return true
}

// adopt enters a claimed entry into the index. Where two versions of one entry
// exist the newer one stays.
func (t *Table) adopt(head uint32, key []byte) {
	hash := hashOf(t.seed, key)
	slot, found := t.index.find(hash, func(head uint32) bool { return t.holds(head, key) })
	t.generation = max(t.generation, t.generationOf(head))
	if !found {
		t.index.set(slot, hash, head)
		t.entries++
		return
	}
	loser := t.index.head(slot)
	if t.generationOf(loser) > t.generationOf(head) {
		loser = head
	} else {
		t.index.set(slot, hash, head)
	}
	t.retire(loser)
	t.superseded++
}

func (t *Table) generationOf(head uint32) uint64 {
	return binary.LittleEndian.Uint64(t.cell(head)[16:])
}
