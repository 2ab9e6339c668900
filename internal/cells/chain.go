package cells

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/dpmip/dpmip/hwabstraction"
)

// commitMark is the upper half of every commit word that is not 0.
const commitMark = uint64(0xd1a1_c0de)

// write puts a record, key first, into free cells and publishes it. The caller
// has made sure that there are enough. Nothing refers to the chain before its
// last store, that of the commit word, which orders all the others before it.
func (t *Table) write(hash uint32, record []byte, keyLen int) (head uint32) {
	le := binary.LittleEndian
	t.generation++
	head = t.take(t.home(hash))
	var fixed [headFixed - 8]byte
	le.PutUint16(fixed[4:], uint16(keyLen))
	le.PutUint16(fixed[6:], uint16(len(record)))
	le.PutUint64(fixed[8:], t.generation)
	sum := head
	for cur, at := head, headFixed; ; at = tailFixed {
		part := record[:min(len(record), CellSize-at)]
		record = record[len(part):]
		next := uint32(0)
		if len(record) > 0 {
			next = t.take(cur) + 1
		}
		le.PutUint32(fixed[:], next)
		c := t.cell(cur)
		t.copyIn(c[8:at], fixed[:at-8])
		t.copyIn(c[at:], part)
		sum = crc32.Update(sum, castagnoli, c[8:at+len(part)])
		if next == 0 {
			break
		}
		cur = next - 1
	}
	t.commit(head).Store(commitMark<<32 | uint64(sum))
	t.stored()
	return head
}

// take allocates a cell, as soon after near as possible.
func (t *Table) take(near uint32) uint32 {
	i := t.free.alloc(near)
	t.stored()
	return i
}

// load gives the record of a head cell, verified: in the cell itself if it has
// only one, and else copied to dst[:0].
func (t *Table) load(head uint32, dst []byte) (record []byte, keyLen int, err error) {
	sum, record, ok := t.sum(head, dst[:0])
	if !ok || t.commit(head).Load() != commitMark<<32|uint64(sum) {
		return dst[:0], 0, fmt.Errorf("cells: cell %d: %w", head, hwabstraction.ErrRegionCorrupt)
	}
	return record, int(binary.LittleEndian.Uint16(t.cell(head)[12:])), nil
}

// sum walks a chain and computes its checksum. The record is as in load. It is
// not ok if the lengths or links are impossible.
func (t *Table) sum(head uint32, dst []byte) (sum uint32, record []byte, ok bool) {
	le := binary.LittleEndian
	c := t.cell(head)
	keyLen, n := int(le.Uint16(c[12:])), int(le.Uint16(c[14:]))
	if keyLen == 0 || keyLen > MaxKey || n < keyLen || n > t.maxRecord {
		return 0, dst, false
	}
	if n <= headRoom {
		return crc32.Update(head, castagnoli, c[8:headFixed+n]), c[headFixed : headFixed+n], le.Uint32(c[8:]) == 0
	}
	sum = head
	for at := headFixed; ; at = tailFixed {
		part := min(n, CellSize-at)
		sum = crc32.Update(sum, castagnoli, c[8:at+part])
		dst = append(dst, c[at:at+part]...)
		next := le.Uint32(c[8:])
		if n -= part; n == 0 {
			return sum, dst, next == 0
		}
		if next == 0 || int64(next) > int64(t.free.size) {
			return 0, dst, false
		}
		c = t.cell(next - 1)
	}
}

// chainLen is the number of cells of an entry by its length field.
func (t *Table) chainLen(head uint32) int {
	return CellsFor(int(binary.LittleEndian.Uint16(t.cell(head)[14:])))
}

// next is the cell after i in a chain; ok is false at its end.
func (t *Table) next(i uint32) (next uint32, ok bool) {
	n := binary.LittleEndian.Uint32(t.cell(i)[8:])
	return n - 1, n != 0
}

// retire takes back a head's commit and frees its cells. The further cells of
// a damaged entry stay in use until the next Open: its links cannot be trusted.
func (t *Table) retire(head uint32) {
	_, _, err := t.load(head, t.scratch)
	t.commit(head).Store(0)
	t.stored()
	if err != nil {
		t.free.give(head)
		return
	}
	t.release(head, t.chainLen(head))
}

// release marks the first n cells of a chain free.
func (t *Table) release(head uint32, n int) {
	for i, c := 0, head; i < n; i++ {
		t.free.give(c)
		t.stored()
		c, _ = t.next(c)
	}
}

func (t *Table) stored() {
	if t.hook != nil {
		t.hook()
	}
}

// copyIn is copy, in steps that a test can watch.
func (t *Table) copyIn(dst, src []byte) {
	if t.hook == nil {
		copy(dst, src)
		return
	}
	for len(src) > 0 {
		n := copy(dst, src[:min(8, len(src))])
		dst, src = dst[n:], src[n:]
		t.hook()
	}
}
