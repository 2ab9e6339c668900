package nicmem

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/google/go-cmp/cmp"
)

func mustJournal(t testing.TB, area []byte) *Journal {
	t.Helper()
	j, err := OpenJournal(area)
	if err != nil {
		t.Fatalf("OpenJournal: %v", err)
	}
	return j
}

func records(j *Journal) map[string]Record {
	m := map[string]Record{}
	j.Range(func(key []byte, r Record) bool {
		r.Payload = bytes.Clone(r.Payload)
		m[string(key)] = r
		return true
	})
	return m
}

func TestJournal(t *testing.T) {
	t.Parallel()
	area := make([]byte, JournalSize(8, MaxJournalKey+MaxJournalPayload))
	j := mustJournal(t, area)
	want := map[string]Record{}
	for i := range 8 {
		key := bytes.Repeat([]byte{byte('a' + i)}, 1+i*9) // 1 to MaxJournalKey bytes
		r := Record{Stamp: hwabstraction.Stamp{Owner: [16]byte{byte(i), 15: 9}, Epoch: uint32(i) << 24}, Payload: make([]byte, i*9)}
		for range 2 { // the second time it replaces itself
			if err := j.Put(key, r.Stamp, r.Payload); err != nil {
				t.Fatal(err)
			}
		}
		want[string(key)] = r
	}
	for range 40 { // until it is full
		if err := j.Put(fmt.Appendf(nil, "more%d", j.Len()), hwabstraction.Stamp{}, nil); errors.Is(err, hwabstraction.ErrRegionFull) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		want[fmt.Sprintf("more%d", j.Len()-1)] = Record{Payload: []byte{}}
	}
	if err := j.Put([]byte("another"), hwabstraction.Stamp{}, nil); !errors.Is(err, hwabstraction.ErrRegionFull) {
		t.Errorf("Put into a full journal: %v", err)
	}
	if !j.Delete([]byte("a")) || j.Delete([]byte("a")) {
		t.Error("Delete must tell whether the record was there")
	}
	delete(want, "a")
	j = mustJournal(t, area)
	if diff := cmp.Diff(want, records(j)); diff != "" {
		t.Errorf("after opening (-want +got):\n%s", diff)
	}
	key := bytes.Repeat([]byte("h"), 64)
	got, found, err := j.Get(key, nil)
	if diff := cmp.Diff(want[string(key)], got); diff != "" || !found || err != nil {
		t.Errorf("Get = %v, %v (-want +got):\n%s", found, err, diff)
	}
	if _, found, err := j.Get([]byte("a"), nil); found || err != nil {
		t.Errorf("Get of a deleted record = %v, %v", found, err)
	}
	if j.Len() != len(want) || j.Stats().Torn != 0 {
		t.Errorf("Len %d, %d torn; want %d, 0", j.Len(), j.Stats().Torn, len(want))
	}
}

func TestJournalRefuses(t *testing.T) {
	t.Parallel()
	area := make([]byte, JournalSize(8, 40))
	j := mustJournal(t, area)
	for name, err := range map[string]error{
		"empty key":    j.Put(nil, hwabstraction.Stamp{}, nil),
		"long key":     j.Put(make([]byte, MaxJournalKey+1), hwabstraction.Stamp{}, nil),
		"long payload": j.Put([]byte("k"), hwabstraction.Stamp{}, make([]byte, MaxJournalPayload+1)),
	} {
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := j.table.Put([]byte("short"), make([]byte, stampSize-1)); err != nil {
		t.Fatal(err)
	}
	if j = mustJournal(t, area); j.Len() != 0 || j.Stats().Torn != 1 {
		t.Errorf("a record without room for its stamp: %d records, %d torn", j.Len(), j.Stats().Torn)
	}
	area[0] ^= 1
	if _, err := OpenJournal(area); !errors.Is(err, hwabstraction.ErrRegionCorrupt) {
		t.Errorf("damaged header: %v", err)
	}
	if _, err := FormatJournal(area); err != nil {
		t.Errorf("FormatJournal: %v", err)
	}
}
