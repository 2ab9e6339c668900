package bul

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/dpmip/dpmip/mobility"
	"github.com/google/go-cmp/cmp"
)

// FuzzOpen opens arbitrary bytes as a list.
func FuzzOpen(f *testing.F) {
	size := AreaSize(4, 1500)
	area := make([]byte, size)
	l := mustOpen(f, area)
	rng := rand.New(rand.NewPCG(5, 5))
	for _, name := range []string{"a", "b", "c"} {
		e := randomEntry(rng, mobility.NAI(name))
		mustPut(f, l, &e)
	}
	f.Add(area)
	f.Add(bytes.Repeat([]byte{0xff}, int(size)))
	f.Fuzz(func(t *testing.T, data []byte) {
		b := make([]byte, size)
		copy(b, data)
		l, err := Open(b)
		if err != nil {
			return
		}
		if diff := cmp.Diff(content(l), content(mustOpen(t, b)), compare); diff != "" {
			t.Errorf("opened twice (-first +second):\n%s", diff)
		}
	})
}

// FuzzValue: what decodes is valid, and encodes to something that decodes to
// the same entry.
func FuzzValue(f *testing.F) {
	rng := rand.New(rand.NewPCG(6, 6))
	for range 10 {
		e := randomEntry(rng, mobility.NAI("vm"))
		f.Add(appendValue(nil, &e))
	}
	e := largest(f)
	f.Add(appendValue(nil, &e))
	f.Fuzz(func(t *testing.T, data []byte) {
		e := Entry{}
		if decodeValue(data, &e) != nil {
			return
		}
		e.ID = mobility.NAI("vm")
		if err := e.validate(); err != nil {
			t.Fatalf("decoded, but not valid: %v", err)
		}
		var again Entry
		if err := decodeValue(appendValue(nil, &e), &again); err != nil {
			t.Fatal(err)
		}
		again.ID = e.ID
		if diff := cmp.Diff(e, again, compare); diff != "" {
			t.Errorf("(-first +second):\n%s", diff)
		}
	})
}
