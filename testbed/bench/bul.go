package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/agent/bul"
	"github.com/dpmip/dpmip/mobility"
)

// Size of the binding update list that is measured.
const (
	listEntries   = 1_000_000
	bytesPerEntry = 320
	listLookups   = 1 << 16 // different identifiers asked for, in random order
)

// bindingList fills a region in memory with a million VMs of two slots, looks
// them up, and opens it as a successor does after a kill.
func bindingList(_ context.Context, o *Options) (out []Figure, err error) {
	f, err := os.CreateTemp("/dev/shm", "dpmip-bench-bul-")
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	if err := f.Truncate(listEntries * bytesPerEntry); err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	area, err := mapRegion(f)
	if err != nil {
		return nil, err
	}
	heap := heapInUse()
	l, err := bul.Open(area)
	if err == nil {
		err = fillList(l)
	}
	if err != nil {
		return nil, errors.Join(err, unix.Munmap(area))
	}
	grown := float64(heapInUse()) - float64(heap)
	s := l.Stats()
	cell := float64(len(area)) / float64(s.Cells) // its share of the index included
	lookup, err := lookUp(l, o.rounds(10))
	if err = errors.Join(err, unix.Munmap(area)); err != nil { // what a kill leaves: the file, nothing else
		return nil, err
	}
	opened, err := turns(context.Background(), o.rounds(5), func() (float64, error) { return openList(f) })
	if err != nil {
		return nil, err
	}
	return []Figure{
		value("memory an entry, two slots, all in", "bytes", float64(s.UsedCells)*cell/listEntries).atMost(bytesPerEntry).note("index, free cells' share and reserve included"),
		lookup.median("lookup", "ns").atMost(250).note("random order, %d entries", listEntries),
		opened[0].median("open and verify after a kill", "ms").atMost(1000).note("mapped anew, every checksum read"),
		value("growth of the Go heap by a million entries", "bytes", max(0, grown)).atMost(1 << 20).note("less than a byte an entry"),
	}, nil
}

func mapRegion(f *os.File) ([]byte, error) {
	b, err := unix.Mmap(int(f.Fd()), 0, listEntries*bytesPerEntry, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return nil, fmt.Errorf("bench: map %s: %w", f.Name(), err)
	}
	return b, nil
}

func heapInUse() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// listed makes e the entry of the i-th VM: an IPv6 and an IPv4 slot.
func listed(e *bul.Entry, i int) {
	e.Reset()
	e.ID = mobility.NAI(fmt.Sprintf("vm-%07d@dc1.example", i))
	v6 := numbered(i)
	b := v6.As16()
	e.MAC, e.Role, e.Epoch = mobility.MAC{2, 0, 0, b[13], b[14], b[15]}, bul.RoleServing, 3
	e.Flags, e.Lifetime, e.ExpiresAt, e.SentAt, e.Sequence = bul.FlagActivated|bul.FlagAttached, 75, 1_790_000_000_000_000_000, 1_780_000_000_000_000_000, 7
	copy(e.Port[:], "tap1234")
	e.Slots = append(e.Slots, v6, netip.AddrFrom4([4]byte{10, b[13], b[14], b[15]}))
}

func fillList(l *bul.List) error {
	var e bul.Entry
	for i := range listEntries {
		listed(&e, i)
		if err := l.Put(&e); err != nil {
			return err
		}
	}
	return nil
}

// lookUp reads entries in random order: nanoseconds each.
func lookUp(l *bul.List, rounds int) (Samples, error) {
	rng := rand.New(rand.NewPCG(1, 1))
	ids := make([]mobility.VMID, listLookups)
	var e bul.Entry
	for i := range ids {
		listed(&e, rng.IntN(listEntries))
		ids[i] = e.ID
	}
	var out Samples
	for range rounds {
		start := time.Now()
		for _, id := range ids {
			if found, err := l.Get(id, &e); !found || err != nil {
				return nil, fmt.Errorf("bench: %s is not in the list: %w", id, err)
			}
		}
		out = append(out, float64(time.Since(start))/listLookups)
	}
	return out, nil
}

// openList maps and opens the list anew, as a successor does: milliseconds.
func openList(f *os.File) (float64, error) {
	start := time.Now()
	area, err := mapRegion(f)
	if err != nil {
		return 0, err
	}
	l, err := bul.Open(area)
	took := time.Since(start)
	if err == nil && (l.Len() != listEntries || l.Stats().Torn != 0) {
		err = fmt.Errorf("bench: %d of %d entries after opening, %d torn", l.Len(), listEntries, l.Stats().Torn)
	}
	return millis(took), errors.Join(err, unix.Munmap(area))
}
