package cells

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sign gives every head of an area the checksum that its chain would need, so
// that what the fuzzer invents gets past it: chains that share cells, run in
// circles or lead nowhere.
func sign(t *testing.T, a []byte) {
	t.Helper()
	tab, err := divide(a, testKind)
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint32(tab.free.size) {
		if tab.commit(i).Load() == 0 {
			continue
		}
		if sum, _, ok := tab.sum(i, nil); ok {
			tab.commit(i).Store(commitMark<<32 | uint64(sum))
		}
	}
}

// FuzzOpen opens arbitrary bytes, with or without a valid header before and
// valid checksums in them, and looks at what is left.
func FuzzOpen(f *testing.F) {
	a := area(12)
	tab := mustOpen(f, a)
	for i := range 3 {
		if err := tab.Put([]byte{byte(i), 1}, bytes.Repeat([]byte{byte(i)}, 90*i)); err != nil {
			f.Fatal(err)
		}
	}
	cellsAt := tab.geometry.cellsAt
	f.Add(a, false, false)
	f.Add(a[cellsAt:], true, false)
	f.Add(a[cellsAt:], true, true)
	ring := bytes.Clone(a[cellsAt:]) // the third entry's chain leads into the second's, and back
	ring[3*CellSize+8] = 2
	f.Add(ring, true, true)
	f.Fuzz(func(t *testing.T, data []byte, header, signed bool) {
		b := area(12)
		if header {
			copy(b, a[:headerSize])
			copy(b[cellsAt:], data)
		} else {
			copy(b, data)
		}
		if signed {
			sign(t, b)
		}
		tab, err := Open(b, testKind, nil)
		if err != nil {
			return
		}
		sound(t, tab)
		if diff := cmp.Diff(content(tab), content(mustOpen(t, b))); diff != "" {
			t.Errorf("opened twice (-first +second):\n%s", diff)
		}
	})
}
