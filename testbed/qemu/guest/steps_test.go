package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dpmip/dpmip/testbed/qemu"
)

func TestCount(t *testing.T) {
	got := count("=== RUN   TestA\n--- PASS: TestA (0.01s)\n    --- SKIP: TestA/b (0.00s)\n        x_test.go:1: the device has no reject: why\n--- FAIL: TestC (1.00s)\nFAIL\n")
	if d := cmp.Diff(qemu.TestCounts{Passed: 1, Failed: 1, Skipped: []string{"TestA/b"}}, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestWithoutPassed(t *testing.T) {
	got := withoutPassed("=== RUN   TestA\n=== PAUSE TestA\n=== CONT  TestA\n    a_test.go:1: why\n    a_test.go:2: more\n=== CONT  TestB\n" +
		"--- FAIL: TestA (0.00s)\n    --- PASS: TestA/b (1.00s)\n=== RUN   TestC\n--- PASS: TestC (0.00s)\nFAIL\n")
	want := "=== CONT  TestA\n    a_test.go:1: why\n    a_test.go:2: more\n=== CONT  TestB\n--- FAIL: TestA (0.00s)\nFAIL\n"
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestCarryOut(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f.json")
	if err := os.WriteFile(file, []byte(`{"lost":0}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		step qemu.Step
		want string // in the error; "" = it passes
	}{
		"passes":        {qemu.Step{Command: []string{"true"}, Figures: file}, ""},
		"fails":         {qemu.Step{Command: []string{"sh", "-c", "echo broken; exit 3"}}, "exit status 3\nbroken"},
		"not there":     {qemu.Step{Command: []string{"/none"}}, "no such file"},
		"hangs":         {qemu.Step{Command: []string{"sh", "-c", "sleep 60 & wait"}, Time: 50 * time.Millisecond}, "did not end within 50ms"},
		"no figures":    {qemu.Step{Command: []string{"true"}, Figures: file + "x"}, "no such file"},
		"tests nothing": {qemu.Step{Command: []string{"echo", "ok, nothing ran"}, Tests: true}, "no test has passed"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := carryOut(tc.step)
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
}
