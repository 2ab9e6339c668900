package ringlog

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func ring(t *testing.T, path string) *Ring {
	t.Helper()
	r, err := Open(path, MinSize)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func TestKeepsTheLastLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	var all bytes.Buffer
	for part := range 3 { // opened anew, as after a restart
		r := ring(t, path)
		for i := range 200 {
			line := fmt.Sprintf("line %d of part %d\n", i, part)
			all.WriteString(line)
			if n, err := r.Write([]byte(line)); err != nil || n != len(line) {
				t.Fatal(n, err)
			}
		}
		got, err := Read(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasSuffix(all.Bytes(), got) || !strings.HasPrefix(string(got), "line ") || len(got) < min(all.Len(), MinSize-40) || len(got) > MinSize {
			t.Errorf("part %d: %d of %d bytes, beginning %q", part, len(got), all.Len(), got[:20])
		}
	}
	if st, err := os.Stat(path); err != nil || st.Size() != header+MinSize {
		t.Errorf("%v bytes, %v", st.Size(), err)
	}
}

func TestMoreThanTheRingHolds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	r := ring(t, path)
	long := strings.Repeat("0123456789\n", 1000)
	if n, err := r.Write([]byte(long)); err != nil || n != len(long) {
		t.Fatal(n, err)
	}
	if got, err := Read(path); err != nil || !strings.HasSuffix(long, string(got)) || len(got) < MinSize-11 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestAnotherFileIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte("what is this"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(path); err == nil {
		t.Error("read as a ring")
	}
	r := ring(t, path)
	if _, err := r.Write([]byte("new\n")); err != nil {
		t.Fatal(err)
	}
	if got, err := Read(path); err != nil || string(got) != "new\n" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := Open(path, 10); err == nil {
		t.Error("a ring of 10 bytes was made")
	}
}
