package bul

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/dpmip/dpmip/mobility"
)

// The limits of the issue that are not times.
const (
	scaleEntries  = 1_000_000
	bytesPerEntry = 320
	lookups       = 1 << 16 // different identifiers that the benchmarks ask for
)

// mapShared maps size bytes of a fresh file on tmpfs, off the Go heap.
func mapShared(t testing.TB, size int64) (area []byte, path string) {
	t.Helper()
	f, err := os.CreateTemp(tmpfs(t), "bul-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(f.Name()) })
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	return mapFile(t, f), f.Name()
}

func mapFile(t testing.TB, f *os.File) []byte {
	t.Helper()
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	area, err := syscall.Mmap(int(f.Fd()), 0, int(fi.Size()), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED|syscall.MAP_POPULATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Munmap(area); err != nil {
			t.Error(err)
		}
	})
	return area
}

// tmpfs is a folder in memory, or where there is none a folder.
func tmpfs(t testing.TB) string {
	if fi, err := os.Stat("/dev/shm"); err == nil && fi.IsDir() {
		return "/dev/shm"
	}
	return t.TempDir()
}

// twoSlots makes e the entry of the i-th VM with two slots. A long one has
// every field of fixed size, identifier and port name at their longest.
func twoSlots(e *Entry, i int, long bool) {
	e.Reset()
	v6 := [16]byte{0x20, 0x01, 0x0d, 0xb8, 12: byte(i >> 24), 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)}
	e.MAC, e.Role, e.Epoch = mobility.MAC{2, 0, 0, v6[13], v6[14], v6[15]}, RoleServing, 3
	e.Flags, e.Lifetime, e.ExpiresAt, e.SentAt, e.Sequence = FlagActivated|FlagAttached, 75, 1_790_000_000_000_000_000, 1_780_000_000_000_000_000, 7
	e.Slots = append(e.Slots, netip.AddrFrom16(v6))
	v6[5] = 1
	if !long {
		e.ID = mobility.NAI(fmt.Sprintf("vm-%07d@dc1.example", i))
		copy(e.Port[:], "tap1234")
		e.Slots = append(e.Slots, netip.AddrFrom4([4]byte{10, v6[13], v6[14], v6[15]}))
		return
	}
	e.ID = mobility.NAI(fmt.Sprintf("vm-%07d@%s", i, strings.Repeat("x", mobility.MaxIDLen-11)))
	copy(e.Port[:], "tap-abcdefghijk")
	e.Slots = append(e.Slots, netip.AddrFrom16(v6))
	e.Ticket, e.QuarantineUntil, e.Move.Mode = mobility.Ticket{1}, 1, mobility.ModeHot
	e.Locator, e.Locator4 = e.Slots[0], netip.AddrFrom4([4]byte{192, 0, 2, 1})
}

func fill(t testing.TB, l *List, n int, long bool) {
	t.Helper()
	var e Entry
	for i := range n {
		twoSlots(&e, i, long)
		mustPut(t, l, &e)
	}
}

// TestMillionEntries: a region of 320 bytes an entry holds a million VMs with
// two slots, index and overflow included, and nothing of it is on the Go heap.
func TestMillionEntries(t *testing.T) {
	n := scaleEntries
	if testing.Short() {
		n /= 20
	}
	area, _ := mapShared(t, int64(n*bytesPerEntry))
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	l := mustOpen(t, area)
	fill(t, l, n, true)
	if got := int64(heap()) - int64(before); got > 1<<20 {
		t.Errorf("the heap grew by %d bytes for %d entries", got, n)
	}
	l = mustOpen(t, area)
	if got := int64(heap()) - int64(before); got > 1<<20 {
		t.Errorf("the heap grew by %d bytes on opening %d entries", got, n)
	}
	s := l.Stats()
	if l.Len() != n || s.Torn != 0 {
		t.Errorf("%d entries after opening, %d torn, want %d", l.Len(), s.Torn, n)
	}
	t.Logf("at most %d bytes an entry: %d of %d cells used", bytesPerEntry, s.UsedCells, s.Cells)
}

// TestNoAllocations of Put and Get, once the caller's entry has room.
func TestNoAllocations(t *testing.T) {
	l := mustOpen(t, make([]byte, AreaSize(100, 1500)))
	e := largest(t)
	got := largest(t)
	var small Entry
	twoSlots(&small, 1, false)
	if n := testing.AllocsPerRun(100, func() {
		mustPut(t, l, &e)
		mustPut(t, l, &small)
		for _, id := range []mobility.VMID{e.ID, small.ID} {
			if found, err := l.Get(id, &got); !found || err != nil {
				t.Fatal(found, err)
			}
		}
		l.Delete(small.ID)
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

// benchList is a region with a million entries, and some of their identifiers
// in random order.
func benchList(b *testing.B, long bool) (l *List, area []byte, ids []mobility.VMID) {
	b.Helper()
	area, _ = mapShared(b, scaleEntries*bytesPerEntry)
	l = mustOpen(b, area)
	fill(b, l, scaleEntries, long)
	rng := rand.New(rand.NewPCG(1, 1))
	var e Entry
	for range lookups {
		twoSlots(&e, rng.IntN(scaleEntries), long)
		ids = append(ids, e.ID)
	}
	return l, area, ids
}

var kinds = []struct {
	name string
	long bool
}{{"usual", false}, {"long", true}}

func BenchmarkGet(b *testing.B) {
	for _, kind := range kinds {
		b.Run(kind.name, func(b *testing.B) {
			l, _, ids := benchList(b, kind.long)
			var e Entry
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				if found, err := l.Get(ids[i%lookups], &e); !found || err != nil {
					b.Fatal(found, err)
				}
				i++
			}
		})
	}
}

func BenchmarkPut(b *testing.B) {
	for _, kind := range kinds {
		b.Run(kind.name, func(b *testing.B) {
			l, _, ids := benchList(b, kind.long)
			var e Entry
			twoSlots(&e, 0, kind.long)
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				e.ID = ids[i%lookups]
				e.ExpiresAt++
				mustPut(b, l, &e)
				i++
			}
		})
	}
}

// BenchmarkOpen opens and verifies a million entries, mapped anew as a
// successor does.
func BenchmarkOpen(b *testing.B) {
	for _, kind := range kinds {
		b.Run(kind.name, func(b *testing.B) {
			area, path := mapShared(b, scaleEntries*bytesPerEntry)
			fill(b, mustOpen(b, area), scaleEntries, kind.long)
			for b.Loop() {
				f, err := os.OpenFile(path, os.O_RDWR, 0)
				if err != nil {
					b.Fatal(err)
				}
				again, err := syscall.Mmap(int(f.Fd()), 0, len(area), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED|syscall.MAP_POPULATE)
				f.Close()
				if err != nil {
					b.Fatal(err)
				}
				l := mustOpen(b, again)
				if l.Len() != scaleEntries || l.Stats().Torn != 0 {
					b.Fatalf("%+v", l.Stats())
				}
				if err := syscall.Munmap(again); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
