package tc

import (
	"encoding/json"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/hwabstraction/switchdev/flower"
)

// given is what a kernel gave back of kernelFilters, each as it was dumped.
// make testbed-arm64 STEPS='filters given back' takes it again, from Linux 6.12.
type given struct {
	VA      int32    `json:"va"`
	VB      int32    `json:"vb"`
	Filters [][]byte `json:"filters"` // base64
}

// parsed is the filter of a message; false where it has none.
func parsed(m message) (flower.Status, bool) {
	s, ok, err := flower.ParseStatus(m.data)
	return s, ok && err == nil
}

// capture writes what the kernel gives back.
func (w *world) capture(t *testing.T, file string) {
	t.Helper()
	g := given{VA: w.va, VB: w.vb}
	real := w.conn.read.socket
	w.conn.read.socket = recorder{real, func(b []byte) {
		if err := messages(b, func(m message) {
			if _, ok := parsed(m); m.typ == unix.RTM_NEWTFILTER && ok {
				g.Filters = append(g.Filters, slices.Clone(m.data))
			}
		}); err != nil {
			t.Fatal(err)
		}
	}}
	_, err := w.conn.List(t.Context(), w.va)
	w.conn.read.socket = real
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.MarshalIndent(g, "", "\t")
	if err == nil {
		err = os.WriteFile(file, append(b, '\n'), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestGivenBack reads what a kernel gave: it holds what was put.
func TestGivenBack(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("testdata/given.json")
	if err != nil {
		t.Fatal(err)
	}
	var g given
	if err := json.Unmarshal(b, &g); err != nil {
		t.Fatal(err)
	}
	want := kernelFilters(g.VA, g.VB)
	if len(g.Filters) != len(want) {
		t.Fatalf("%d filters, want %d: take them again", len(g.Filters), len(want))
	}
	for _, data := range g.Filters {
		s, ok := parsed(message{data: data})
		if !ok || int(s.Handle) > len(want) {
			t.Fatalf("no filter of ours: %+v", s)
		}
		if f := want[s.Handle-1]; !s.Holds(f) {
			t.Errorf("handle %d, beyond a filter: %q\n put %+v\nback %+v", s.Handle, s.Beyond, f, s.Filter)
		}
	}
}
