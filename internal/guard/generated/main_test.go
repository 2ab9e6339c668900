package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// checkout is a git checkout whose only generated file is out/gen.txt.
func checkout(t *testing.T, generated string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"source.txt": "abc\n", "out/gen.txt": generated,
		"generate.sh": "mkdir -p bin && echo tool >bin/tool && tr a-z A-Z <source.txt >out/gen.txt && $MORE\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"init", "-q"}, {"add", "."}} {
		cmd := exec.Command("git", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	return dir
}

func TestRun(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, generated, more string
		want                  []string
	}{
		{name: "fresh", generated: "ABC\n", more: "true"},
		{name: "stale", generated: "ABX\n", more: "true", want: []string{"out/gen.txt"}},
		{name: "another file", generated: "ABC\n", more: "touch out/new.txt", want: []string{"out/new.txt"}},
		{name: "gone", generated: "ABC\n", more: "rm out/gen.txt", want: []string{"out/gen.txt"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := checkout(t, tt.generated)
			got, err := run(t.Context(), dir, "env", "MORE="+tt.more, "sh", "generate.sh")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("stale files (-want +got):\n%s", diff)
			}
			if b, err := os.ReadFile(filepath.Join(dir, "out/gen.txt")); err != nil || string(b) != tt.generated {
				t.Errorf("the checkout itself was changed: %q, %v", b, err)
			}
		})
	}
	if _, err := run(t.Context(), checkout(t, "ABC\n"), "false"); err == nil {
		t.Error("a generator that fails is no error")
	}
}
