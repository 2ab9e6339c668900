package bench

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestKept(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		f    Figure
		want bool
	}{
		{value("no limit", "x", 9), true},
		{value("at the limit", "x", 1).atLeast(1), true},
		{value("below", "x", 0.99).atLeast(1), false},
		{value("at the limit", "x", 1).atMost(1), true},
		{value("above", "x", 1.01).atMost(1), false},
	} {
		if got := c.f.Kept(); got != c.want {
			t.Errorf("%+v: kept = %t, want %t", c.f, got, c.want)
		}
	}
}

func TestSamples(t *testing.T) {
	t.Parallel()
	s := Samples{5, 1, 4, 2, 3}
	if m, q := s.Median(), s.Quantile(0.99); m != 3 || q != 5 {
		t.Errorf("median %v, p99 %v, want 3 and 5", m, q)
	}
	if diff := cmp.Diff(Samples{2.5, 0.5}, s[:2].over(Samples{2, 2, 2})); diff != "" {
		t.Errorf("ratios by round (-want +got):\n%s", diff)
	}
	if f := s.median("x", "ms"); f.Low != 1 || f.High != 5 || f.N != 5 {
		t.Errorf("figure %+v", f)
	}
}

// TestTurns: the ways take turns, and the first round is not counted.
func TestTurns(t *testing.T) {
	t.Parallel()
	var order strings.Builder
	n := 0.0
	w := func(name string) way {
		return func() (float64, error) { order.WriteString(name); n++; return n, nil }
	}
	got, err := turns(t.Context(), 2, w("A"), w("B"))
	if err != nil {
		t.Fatal(err)
	}
	if order.String() != "ABABAB" {
		t.Errorf("order %s", &order)
	}
	if diff := cmp.Diff([]Samples{{3, 5}, {4, 6}}, got); diff != "" {
		t.Errorf("samples (-want +got):\n%s", diff)
	}
}

func TestWriteDocument(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "b.md")
	if err := os.WriteFile(path, []byte("before\n"+markBegin+"old\n"+markEnd+"after\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := &Report{Figures: []Figure{value("speed", "x", 0.5).atLeast(1)}}
	for range 2 { // the second time replaces the first
		if err := r.WriteDocument(path); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s := string(b)
	if !strings.HasPrefix(s, "before\n") || !strings.HasSuffix(s, "after\n") || strings.Contains(s, "old") || strings.Count(s, "at least 1 | NO") != 1 {
		t.Errorf("document:\n%s", s)
	}
	if err := os.WriteFile(path, []byte("no marks"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.WriteDocument(path); err == nil {
		t.Error("a document without marks was written")
	}
}

// TestDocumentHasMarks: make bench can write into the committed document.
func TestDocumentHasMarks(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../../docs/benchmarks.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(b, []byte(markBegin)) || !bytes.Contains(b, []byte(markEnd)) {
		t.Error("docs/benchmarks.md lacks the marks")
	}
}

// TestCodecAllocatesNothing holds what the benchmark reports besides times.
func TestCodecAllocatesNothing(t *testing.T) {
	figures, err := codec(t.Context(), &Options{Quick: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range figures {
		if f.Unit == "allocations" && !f.Kept() {
			t.Errorf("%s: %v allocations", f.Name, f.Value)
		}
	}
}
