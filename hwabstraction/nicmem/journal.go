package nicmem

import (
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/internal/cells"
)

// Bounds of a journal's records, in bytes.
const (
	MaxJournalKey     = cells.MaxKey
	MaxJournalPayload = 64

	stampSize = 20
)

var journalKind = cells.Kind{Tag: [4]byte{'J', 'R', 'N', 'L'}, Version: 1, MaxRecord: MaxJournalKey + stampSize + MaxJournalPayload}

// Journal remembers the stamp of every rule that a backend has programmed, in
// an area of a region, because kernel routes have no room for it. The backend
// writes the record before it adds a rule, and deletes it after it has removed
// the rule: so a rule without a record is never its own, and a record without a
// rule is found by comparing with the tables.
//
// A record that was put is whole after a crash at any later instruction. The
// methods may be called from several goroutines.
type Journal struct {
	mu    sync.Mutex // guards table and value
	table *cells.Table
	value []byte
}

// Record is what a journal holds for a key.
type Record struct {
	Stamp   hwabstraction.Stamp
	Payload []byte // at most MaxJournalPayload bytes, the backend's own business
}

// OpenJournal reads the journal that an earlier process left in area, at
// whatever instruction it died, or makes an empty one of an area that was never
// used. Torn records are thrown away and counted. Errors: ErrRegionCorrupt
// (FormatJournal mends it at the price of the content), ErrRegionVersion,
// ErrRegionLayout.
func OpenJournal(area []byte) (*Journal, error) {
	t, err := cells.Open(area, journalKind, func(_, value []byte) bool {
		return len(value) >= stampSize && len(value) <= stampSize+MaxJournalPayload
	})
	return newJournal(t, err)
}

// FormatJournal makes area an empty journal, whatever it held.
func FormatJournal(area []byte) (*Journal, error) {
	return newJournal(cells.Format(area, journalKind))
}

func newJournal(t *cells.Table, err error) (*Journal, error) {
	if err != nil {
		return nil, fmt.Errorf("nicmem: journal: %w", err)
	}
	return &Journal{table: t, value: make([]byte, 0, stampSize+MaxJournalPayload)}, nil
}

// JournalSize is the number of bytes to give to a journal of n records whose
// key and payload are at most bytes together.
func JournalSize(n, bytes int) int64 {
	return cells.AreaSize(journalKind, n*cells.CellsFor(bytes+stampSize))
}

// Put stores a record under key (1 to MaxJournalKey bytes), replacing what was
// there. ErrRegionFull means that there is no room and that nothing changed.
func (j *Journal) Put(key []byte, stamp hwabstraction.Stamp, payload []byte) error {
	if len(payload) > MaxJournalPayload {
		return fmt.Errorf("nicmem: journal: payload of %d bytes, want at most %d", len(payload), MaxJournalPayload)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.value = binary.LittleEndian.AppendUint32(append(j.value[:0], stamp.Owner[:]...), stamp.Epoch)
	j.value = append(j.value, payload...)
	if err := j.table.Put(key, j.value); err != nil {
		return fmt.Errorf("nicmem: journal: %w", err)
	}
	return nil
}

// Get gives the record of key, its payload appended to buf[:0], and whether
// there is one. ErrRegionCorrupt means that it was damaged since OpenJournal.
func (j *Journal) Get(key, buf []byte) (Record, bool, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	value, found, err := j.table.Get(key)
	if err != nil {
		return Record{}, false, fmt.Errorf("nicmem: journal: %w", err)
	}
	if !found {
		return Record{}, false, nil
	}
	r := decodeRecord(value)
	r.Payload = append(buf[:0], r.Payload...)
	return r, true, nil
}

// Delete removes the record of key and says whether there was one.
func (j *Journal) Delete(key []byte) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.table.Delete(key)
}

// Range calls fn with every record, in no order, until it returns false. Key
// and payload are valid during the call only. fn must not call the journal.
func (j *Journal) Range(fn func(key []byte, r Record) bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.table.Range(func(key, value []byte) bool { return fn(key, decodeRecord(value)) })
}

// Len is the number of records.
func (j *Journal) Len() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.table.Len()
}

// JournalStats is a snapshot of a journal's use.
type JournalStats = cells.Stats

// Stats gives the cells in use and free, and what was found at opening.
func (j *Journal) Stats() JournalStats {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.table.Stats()
}

// decodeRecord splits a value, whose length was checked when it came in. The
// payload aliases it.
func decodeRecord(value []byte) Record {
	return Record{
		Stamp: hwabstraction.Stamp{
			Owner: [16]byte(value), Epoch: binary.LittleEndian.Uint32(value[16:]),
		},
		Payload: value[stampSize:],
	}
}
