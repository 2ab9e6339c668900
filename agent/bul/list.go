package bul

import (
	"fmt"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/internal/cells"
	"github.com/dpmip/dpmip/mobility"
)

// Errors, for errors.Is.
var (
	// ErrFull: the memory is used up; nothing was changed. Status 130.
	ErrFull = hwabstraction.ErrRegionFull
	// ErrCorrupt: the memory holds something else, or an entry was damaged
	// while the agent ran.
	ErrCorrupt = hwabstraction.ErrRegionCorrupt
	// ErrVersion: a newer agent wrote the list; it is left untouched.
	ErrVersion = hwabstraction.ErrRegionVersion
)

// listKind is the encoding of this version of the package. A change that older
// agents cannot read raises Version.
var listKind = cells.Kind{Tag: [4]byte{'B', 'U', 'L', ' '}, Version: 1, MaxRecord: maxKey + maxValue}

// List is the Binding Update List. It is not safe for concurrent use: the
// agent's event loop owns it.
type List struct {
	table *cells.Table
	value []byte // of the entry being put
}

// Stats is a snapshot of a list's use.
type Stats = cells.Stats

// Open reads the list that an earlier agent left in area, at whatever
// instruction it died, or makes an empty one of an area that was never used.
// Every entry is checked; Stats tells how many torn ones were thrown away. The
// area (a Region's Bytes) must be aligned to 8 bytes, and belongs to the list
// until it is dropped.
//
// Errors: ErrVersion; ErrCorrupt if the area's header is damaged, which Format
// mends at the price of the content; ErrRegionLayout if the area had another
// size.
func Open(area []byte) (*List, error) {
	l, _, err := OpenEach(area, nil)
	return l, err
}

// OpenEach is Open, and calls fn with every entry while it is checked, as Range
// does but for that fn may not touch the list, which is not there yet. It saves
// reading all of them a second time. Where an entry was thrown away whole is
// false: then fn has been called with what the list does not hold, and only
// Range tells what it does.
func OpenEach(area []byte, fn func(*Entry)) (l *List, whole bool, err error) {
	var e Entry
	t, err := cells.Open(area, listKind, func(key, value []byte) bool {
		st, id, ok := decodeKey(key)
		if !ok || decodeValue(value, &e) != nil {
			return false
		}
		if fn != nil {
			e.ID = mobility.VMID{Subtype: st, Bytes: string(id)}
			fn(&e)
		}
		return true
	})
	if l, err = newList(t, err); err != nil {
		return nil, false, err
	}
	st := l.Stats()
	return l, st.Torn == 0 && st.Superseded == 0, nil
}

// Format makes area an empty list, whatever it held.
func Format(area []byte) (*List, error) { return newList(cells.Format(area, listKind)) }

func newList(t *cells.Table, err error) (*List, error) {
	if err != nil {
		return nil, fmt.Errorf("bul: %w", err)
	}
	return &List{table: t, value: make([]byte, 0, maxValue)}, nil
}

// AreaSize is the number of bytes to give to a list of n entries of bytes each,
// index and reserve included. RecordSize tells the bytes of an entry.
func AreaSize(n, bytes int) int64 { return cells.AreaSize(listKind, n*cells.CellsFor(bytes)) }

// RecordSize is the number of bytes that e takes before it is cut into cells.
func RecordSize(e *Entry) int { return 1 + len(e.ID.Bytes) + len(appendValue(nil, e)) }

// Put stores a copy of e, replacing the entry of the same identifier. It does
// not allocate. ErrFull means that there is no room and that nothing has
// changed; replacing an entry by one that is not larger always succeeds.
func (l *List) Put(e *Entry) error {
	if err := e.validate(); err != nil {
		return err
	}
	var key [maxKey]byte
	l.value = appendValue(l.value[:0], e)
	if err := l.table.Put(appendKey(key[:0], e.ID), l.value); err != nil {
		return fmt.Errorf("bul: %s: %w", e.ID, err)
	}
	return nil
}

// Get fills e with the entry of id and says whether there is one. It does not
// allocate where e's slices have room. ErrCorrupt means that the entry was
// damaged since the list was opened; put it again.
func (l *List) Get(id mobility.VMID, e *Entry) (bool, error) {
	if err := validID(id); err != nil {
		return false, err
	}
	var key [maxKey]byte
	value, found, err := l.table.Get(appendKey(key[:0], id))
	if err == nil && found {
		err = decodeValue(value, e)
		e.ID = id
	}
	if err != nil {
		return false, fmt.Errorf("bul: %s: %w", id, err)
	}
	return found, nil
}

// Delete removes the entry of id and says whether there was one.
func (l *List) Delete(id mobility.VMID) bool {
	if validID(id) != nil {
		return false
	}
	var key [maxKey]byte
	return l.table.Delete(appendKey(key[:0], id))
}

// Range calls fn with every entry, in no order, until it returns false. The
// entry and its slices are fn's during the call only, and copies; the
// identifier is a string of its own and may be kept. fn may read the list and
// delete the entry it is given; it must not put any.
func (l *List) Range(fn func(*Entry) bool) {
	var e Entry
	l.table.Range(func(key, value []byte) bool {
		st, id, ok := decodeKey(key)
		if !ok || decodeValue(value, &e) != nil {
			return true // it was checked when it came in: damaged since
		}
		e.ID = mobility.VMID{Subtype: st, Bytes: string(id)}
		return fn(&e)
	})
}

// Len is the number of entries.
func (l *List) Len() int { return l.table.Len() }

// Stats gives the cells in use and free, and what was found at opening.
func (l *List) Stats() Stats { return l.table.Stats() }
