package cells

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/google/go-cmp/cmp"
)

var testKind = Kind{Tag: [4]byte{'T', 'E', 'S', 'T'}, Version: 1, MaxRecord: 600}

func area(n int) []byte { return make([]byte, geometryOf(n).size()) }

func mustOpen(t testing.TB, a []byte) *Table {
	t.Helper()
	tab, err := Open(a, testKind, nil)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return tab
}

func content(tab *Table) map[string]string {
	m := map[string]string{}
	tab.Range(func(k, v []byte) bool { m[string(k)] = string(v); return true })
	return m
}

// sound checks that bitmap, index and commit words tell one story.
func sound(t *testing.T, tab *Table) {
	t.Helper()
	want := bitmap{words: make([]uint64, len(tab.free.words)), full: make([]uint64, len(tab.free.full)), size: tab.free.size}
	want.reset()
	entries := 0
	for slot, s := range tab.index.slots {
		if s == 0 {
			continue
		}
		entries++
		rec, keyLen, err := tab.load(tab.index.head(slot), nil)
		if err != nil {
			t.Fatalf("slot %d: %v", slot, err)
		}
		if head, found := tab.find(hashOf(tab.seed, rec[:keyLen]), rec[:keyLen]); !found || head != tab.index.head(slot) {
			t.Fatalf("key with its head in cell %d is found in %d, %v", tab.index.head(slot), head, found)
		}
		for c, ok := tab.index.head(slot), true; ok; c, ok = tab.next(c) {
			want.take(c)
		}
	}
	for i := range uint32(tab.free.size) {
		if tab.free.isUsed(i) != want.isUsed(i) {
			t.Fatalf("cell %d: used %v, want %v", i, tab.free.isUsed(i), want.isUsed(i))
		}
	}
	if entries != tab.Len() || want.used != tab.free.used {
		t.Fatalf("%d entries in %d cells, but the table says %d in %d", entries, want.used, tab.Len(), tab.free.used)
	}
}

func randomValue(rng *rand.Rand) string {
	b := make([]byte, rng.IntN(500))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return string(b)
}

// TestAgainstMap does random operations on a Table and on a Go map, and reopens
// the Table now and then.
func TestAgainstMap(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		rng := rand.New(rand.NewPCG(seed, 1))
		a := area(90)
		tab, want := mustOpen(t, a), map[string]string{}
		full := 0
		for step := range 6000 {
			key := fmt.Sprintf("vm%d", rng.IntN(40))
			switch op := rng.IntN(100); {
			case op < 60:
				v := randomValue(rng)
				old, had := want[key]
				err := tab.Put([]byte(key), []byte(v))
				switch {
				case err == nil:
					want[key] = v
				case !errors.Is(err, hwabstraction.ErrRegionFull):
					t.Fatalf("Put: %v", err)
				case had && CellsFor(len(key+v)) <= CellsFor(len(key+old)):
					t.Fatalf("step %d: an update that does not grow was refused: %v", step, err)
				default:
					full++
				}
			case op < 85:
				_, had := want[key]
				if got := tab.Delete([]byte(key)); got != had {
					t.Fatalf("Delete = %v, want %v", got, had)
				}
				delete(want, key)
			case op < 98:
				v, found, err := tab.Get([]byte(key))
				if w, had := want[key]; err != nil || found != had || string(v) != w {
					t.Fatalf("Get(%s) = %d bytes, %v, %v", key, len(v), found, err)
				}
			default:
				before := tab.Stats()
				tab = mustOpen(t, a)
				if diff := cmp.Diff(before, tab.Stats()); diff != "" {
					t.Fatalf("stats after opening again (-want +got):\n%s", diff)
				}
			}
			if step%50 == 0 {
				sound(t, tab)
			}
		}
		if diff := cmp.Diff(want, content(tab)); diff != "" {
			t.Errorf("seed %d (-want +got):\n%s", seed, diff)
		}
		if full == 0 {
			t.Errorf("seed %d: the area was never full", seed)
		}
	}
}

// TestCrashAfterEveryStore looks at the area after every single store of a
// writer, as a successor would find it.
func TestCrashAfterEveryStore(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(7, 7))
	a := area(24)
	tab := mustOpen(t, a)
	acked := map[string]string{}
	snap := make([]byte, len(a))
	stores, supersededSeen := 0, false
	for range 250 {
		key := fmt.Sprintf("vm%d", rng.IntN(6))
		next := maps.Clone(acked)
		value, isPut := randomValue(rng), rng.IntN(4) > 0
		if isPut {
			next[key] = value
		} else {
			delete(next, key)
		}
		tab.SetStoreHook(func() {
			stores++
			copy(snap, a)
			after := mustOpen(t, snap)
			got := content(after)
			if !maps.Equal(got, acked) && !maps.Equal(got, next) {
				t.Fatalf("store %d: neither old nor new: %s", stores, cmp.Diff(next, got))
			}
			supersededSeen = supersededSeen || after.Stats().Superseded > 0
			if after.Stats().Torn != 0 {
				t.Fatalf("store %d: %d entries torn", stores, after.Stats().Torn)
			}
			sound(t, after)
		})
		if isPut {
			if err := tab.Put([]byte(key), []byte(value)); err != nil {
				continue // full: nothing may have changed, as the next steps see
			}
		} else {
			tab.Delete([]byte(key))
		}
		acked = next
	}
	if stores < 5000 || !supersededSeen {
		t.Errorf("%d stores seen, both versions at once: %v", stores, supersededSeen)
	}
}

// TestCrashWhileOpening kills the one that cleans up, too.
func TestCrashWhileOpening(t *testing.T) {
	t.Parallel()
	a := area(24)
	tab := mustOpen(t, a)
	long := bytes.Repeat([]byte("x"), 300)
	for _, k := range []string{"a", "b", "c"} {
		if err := tab.Put([]byte(k), long); err != nil {
			t.Fatal(err)
		}
	}
	var dead []byte // the instant with both versions of b
	tab.SetStoreHook(func() {
		if s := bytes.Clone(a); dead == nil && mustOpen(t, bytes.Clone(a)).Stats().Superseded > 0 {
			dead = s
		}
	})
	if err := tab.Put([]byte("b"), []byte("new")); err != nil {
		t.Fatal(err)
	}
	want := content(tab)
	again, err := divide(dead, testKind)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	again.SetStoreHook(func() {
		n++
		if diff := cmp.Diff(want, content(mustOpen(t, bytes.Clone(dead)))); diff != "" {
			t.Fatalf("store %d of Open (-want +got):\n%s", n, diff)
		}
	})
	again.recover(nil)
	if n == 0 {
		t.Error("Open had nothing to clean up")
	}
}

// TestBitFlips flips every bit of an area in turn: the entries are as they
// were, or the damage is reported and the other entries are as they were.
func TestBitFlips(t *testing.T) {
	t.Parallel()
	a := area(16)
	tab := mustOpen(t, a)
	for i, n := range []int{5, 80, 250} {
		if err := tab.Put(fmt.Appendf(nil, "vm%d", i), bytes.Repeat([]byte{byte(i + 1)}, n)); err != nil {
			t.Fatal(err)
		}
	}
	want := content(tab)
	lost, refused := 0, 0
	for bit := range len(a) * 8 {
		b := bytes.Clone(a)
		b[bit/8] ^= 1 << (bit % 8)
		after, err := Open(b, testKind, nil)
		if err != nil {
			if bit/8 >= headerSize {
				t.Fatalf("bit %d beyond the header: %v", bit, err)
			}
			refused++
			continue
		}
		got := content(after)
		for k, v := range got {
			if want[k] != v {
				t.Fatalf("bit %d: %s has changed", bit, k)
			}
		}
		if len(got) < len(want) {
			lost++
			if len(got) != len(want)-1 || after.Stats().Torn != 1 {
				t.Fatalf("bit %d: %d of %d entries left, %d counted as torn", bit, len(got), len(want), after.Stats().Torn)
			}
		}
		sound(t, after)
	}
	if lost < 8*(5+80+250) || refused == 0 {
		t.Errorf("%d flips cost an entry, %d were refused: expected one at least for each bit of the values", lost, refused)
	}
}

// TestDamageAtRunTime reads and replaces an entry that was damaged meanwhile.
func TestDamageAtRunTime(t *testing.T) {
	t.Parallel()
	tab := mustOpen(t, area(24))
	key := []byte("vm1")
	if err := tab.Put(key, bytes.Repeat([]byte("x"), 300)); err != nil {
		t.Fatal(err)
	}
	head, _ := tab.find(hashOf(tab.seed, key), key)
	tab.cell(head)[60] ^= 1
	if _, found, err := tab.Get(key); !errors.Is(err, hwabstraction.ErrRegionCorrupt) {
		t.Errorf("Get = %v, %v, want ErrRegionCorrupt", found, err)
	}
	if err := tab.Put(key, []byte("whole again")); err != nil {
		t.Fatalf("Put: %v", err)
	}
	if v, _, err := tab.Get(key); string(v) != "whole again" || err != nil {
		t.Errorf("Get = %q, %v", v, err)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	kind := func(f func(*Kind)) Kind { k := testKind; f(&k); return k }
	tests := []struct {
		name string
		kind Kind
		want error
	}{
		{"other tag", kind(func(k *Kind) { k.Tag[0] = 'X' }), hwabstraction.ErrRegionCorrupt},
		{"written by a newer program", kind(func(k *Kind) { k.Version = 9 }), nil},
		{"by an older one again", testKind, hwabstraction.ErrRegionVersion},
		{"larger records than ours", kind(func(k *Kind) { k.Version = 9; k.MaxRecord = 100 }), hwabstraction.ErrRegionVersion},
	}
	a := area(24)
	mustOpen(t, a)
	for _, tt := range tests {
		before := bytes.Clone(a)
		_, err := Open(a, tt.kind, nil)
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		if err != nil && !bytes.Equal(before, a) {
			t.Errorf("%s: refused, but the area was changed", tt.name)
		}
	}
	if _, err := Open(make([]byte, 1024), testKind, nil); err == nil {
		t.Error("an area without room for one entry was accepted")
	}
	if _, err := Open(a[:len(a)-CellSize], kind(func(k *Kind) { k.Version = 9 }), nil); !errors.Is(err, hwabstraction.ErrRegionLayout) {
		t.Errorf("a shorter area: %v, want ErrRegionLayout", err)
	}
	tab := mustOpen(t, area(24))
	for _, key := range []int{0, MaxKey + 1} {
		if err := tab.Put(make([]byte, key), nil); err == nil {
			t.Errorf("key of %d bytes accepted", key)
		}
	}
	if err := tab.Put([]byte("k"), make([]byte, testKind.MaxRecord)); err == nil {
		t.Error("record above the maximum accepted")
	}
}

func TestFitUsesTheArea(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 100, 4096, 1<<20 - 1, 1 << 20, 320e6} {
		g := fit(size)
		if g.cells > 0 && g.size() > size {
			t.Errorf("fit(%d) needs %d bytes", size, g.size())
		}
		if bigger := geometryOf(g.cells + 3).size(); bigger <= size {
			t.Errorf("fit(%d) = %d cells, but 3 more would fit", size, g.cells)
		}
	}
}
