package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestUsage(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{nil, {"take"}, {"forget", "x"}, {"check", filepath.Join(t.TempDir(), "absent")}} {
		var out bytes.Buffer
		if got := run(args, &out); got != 2 || out.Len() == 0 {
			t.Errorf("%q: status %d, %q", args, got, &out)
		}
	}
}

func TestCheckFindsWhatIsLeft(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "before")
	// Before, there was not even a loopback.
	if err := os.WriteFile(file, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if got := run([]string{"check", file}, &out); got != 1 || !strings.Contains(out.String(), "left over: netdev: lo\n") {
		t.Errorf("status %d, %q", got, &out)
	}
}
