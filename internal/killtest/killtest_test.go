package killtest

import (
	"fmt"
	"testing"
)

func TestMain(m *testing.M) {
	Main(m, func(arg string) error {
		for i := 1; ; i++ {
			if _, err := fmt.Println(arg, i); err != nil {
				return err
			}
		}
	})
}

func TestKill(t *testing.T) {
	t.Parallel()
	n := 0
	Kill(t, "number", 1000, func(line string) {
		if n++; line != fmt.Sprint("number ", n) {
			t.Fatalf("line %d is %q", n, line)
		}
	})
	if n < 1000 {
		t.Errorf("%d lines, want at least 1000", n)
	}
}
