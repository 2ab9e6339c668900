package bul

import (
	"fmt"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"

	"github.com/dpmip/dpmip/internal/killtest"
	"github.com/dpmip/dpmip/mobility"
	"github.com/google/go-cmp/cmp"
)

func TestMain(m *testing.M) { killtest.Main(m, write) }

const killVMs = 30

func killID(i int) mobility.VMID { return mobility.NAI(fmt.Sprintf("vm%d@dc1.example", i)) }

// version is the n-th entry that a writer puts: all of it follows from n.
func version(id mobility.VMID, n uint32) Entry {
	e := randomEntry(rand.New(rand.NewPCG(uint64(n), 11)), id)
	e.Epoch = mobility.Epoch(n)
	return e
}

// write puts entries in random order and acknowledges each.
func write(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	area, err := syscall.Mmap(int(f.Fd()), 0, int(fi.Size()), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return err
	}
	l, err := Open(area)
	if err != nil {
		return err
	}
	rng := rand.New(rand.NewPCG(uint64(os.Getpid()), 1))
	for n := uint32(1); ; n++ {
		vm := rng.IntN(killVMs)
		e := version(killID(vm), n)
		if err := l.Put(&e); err != nil {
			return err
		}
		if _, err := fmt.Println(vm, n); err != nil {
			return err
		}
	}
}

// TestKill kills a writer at any moment, again and again: its successor finds
// every entry as it was acknowledged last, but for one at most, which is then
// the one that the writer was about to acknowledge.
func TestKill(t *testing.T) {
	area, path := mapShared(t, AreaSize(killVMs, 2400))
	acked := map[int]uint32{}
	for round := range 8 {
		var last uint32
		killtest.Kill(t, path, 200+round*97, func(line string) {
			var vm int
			if _, err := fmt.Sscan(line, &vm, &last); err != nil {
				t.Fatalf("acknowledgement %q: %v", line, err)
			}
			acked[vm] = last
		})
		l := mustOpen(t, area)
		if s := l.Stats(); s.Torn != 0 || l.Len() < len(acked) {
			t.Fatalf("round %d: %d entries and %d torn, want at least %d and 0", round, l.Len(), s.Torn, len(acked))
		}
		unacked := 0
		l.Range(func(e *Entry) bool {
			n := uint32(e.Epoch)
			var vm int
			if _, err := fmt.Sscanf(e.ID.Bytes, "vm%d@", &vm); err != nil {
				t.Fatal(err)
			}
			if n != acked[vm] {
				if unacked++; n != last+1 || unacked > 1 {
					t.Errorf("round %d: %s has version %d, acknowledged %d, the last of all %d", round, e.ID, n, acked[vm], last)
				}
				acked[vm] = n // it is where the next writer starts
			}
			if diff := cmp.Diff(version(e.ID, n), *e, compare); diff != "" {
				t.Errorf("round %d: %s is a mixture (-want +got):\n%s", round, e.ID, diff)
			}
			return true
		})
	}
}
