package sim

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var (
	seeds  = flag.Int("seeds", 3000, "how many schedules TestSchedules runs")
	seed   = flag.Uint64("seed", 1, "the first of them")
	replay = flag.String("replay", "", "file of the schedule that TestReplay runs")
)

// shrinkBudget bounds the runs that shrinking one failure takes.
const shrinkBudget = 400

// TestSchedules runs many random schedules. The first failure is shrunk and
// printed in a form that -replay takes.
func TestSchedules(t *testing.T) {
	t.Parallel()
	failures := runSeeds(*seed, *seeds, 3, sabotage{})
	for _, n := range failures {
		report(t, Generate(n), sabotage{})
	}
}

// runSeeds runs the schedules of n seeds, and gives those that fail: the first
// few, in order.
func runSeeds(first uint64, n, most int, sb sabotage) (failed []uint64) {
	var next, bad atomic.Int64
	var wg sync.WaitGroup
	broken := make([]bool, n)
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && int(bad.Load()) < most; i = int(next.Add(1)) - 1 {
				if run(Generate(first+uint64(i)), sb, nil) != nil {
					broken[i] = true
					bad.Add(1)
				}
			}
		})
	}
	wg.Wait()
	for i, b := range broken {
		if b {
			failed = append(failed, first+uint64(i))
		}
	}
	return failed
}

// report shrinks a failing schedule and tells it.
func report(t *testing.T, s *Schedule, sb sabotage) {
	t.Helper()
	v := run(s, sb, nil)
	if v == nil {
		t.Errorf("seed %d failed once and does not again: the simulator is not deterministic", s.Seed)
		return
	}
	small := Shrink(s, shrinkBudget, sameFailure(v, func(c *Schedule) *Violation { return run(c, sb, nil) }))
	t.Errorf("seed %d: %v\nshrunk to %d operations (run with -run TestReplay -replay FILE -v):\n\n# %v\n%s",
		s.Seed, v, len(small.Ops), run(small, sb, nil), small)
}

// sameFailure tells whether a schedule's history breaks the same invariant as v.
func sameFailure(v *Violation, history func(*Schedule) *Violation) func(*Schedule) bool {
	return func(s *Schedule) bool {
		x := history(s)
		return x != nil && x.Rule == v.Rule
	}
}

// TestReplay runs the schedules of testdata, each of which once broke something,
// or with -replay the one of a file. With -v it tells what happens.
func TestReplay(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txt")
	if *replay != "" {
		files, err = []string{*replay}, nil
	}
	if err != nil || len(files) == 0 {
		t.Fatalf("no schedules: %v", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			s, err := Parse(string(text))
			if err != nil {
				t.Fatal(err)
			}
			var log func(string)
			if *replay != "" && testing.Verbose() {
				log = func(line string) { fmt.Println(line) }
			}
			if v := Run(s, log); v != nil {
				t.Error(v)
			}
		})
	}
}

// TestOneSeedOneHistory: the same schedule gives the same trace, byte for byte.
func TestOneSeedOneHistory(t *testing.T) {
	t.Parallel()
	for n := range uint64(20) {
		var traces [2]strings.Builder
		for i := range traces {
			_ = Run(Generate(n+1), func(line string) { fmt.Fprintln(&traces[i], line) })
		}
		if a, b := traces[0].String(), traces[1].String(); a != b {
			t.Fatalf("seed %d (-first +second):\n%s", n+1, cmp.Diff(head(a, b), head(b, a)))
		}
	}
}

// head gives the lines of a around the first one that differs from b's.
func head(a, b string) []string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range x {
		if i >= len(y) || x[i] != y[i] {
			return x[max(0, i-3):min(len(x), i+3)]
		}
	}
	return nil
}

// TestTextForm: what is printed is what is read.
func TestTextForm(t *testing.T) {
	t.Parallel()
	for n := range uint64(200) {
		want := Generate(n).String()
		s, err := Parse(want)
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", n, err, want)
		}
		if diff := cmp.Diff(want, s.String()); diff != "" {
			t.Errorf("seed %d (-want +got):\n%s", n, diff)
		}
	}
}

// TestTrace prints the history of the seed given, with -v.
func TestTrace(t *testing.T) {
	if !testing.Verbose() || *seeds != 1 {
		t.Skip("only with -v -seed S -seeds 1")
	}
	s := Generate(*seed)
	fmt.Print(s)
	if v := Run(s, func(line string) { fmt.Println(line) }); v != nil {
		t.Error(v)
	}
}
