package netns

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A Set is found while its owner lives, and a program can be run inside it from
// another process.
func TestFindAndExec(t *testing.T) {
	s, base := open(t)
	n, err := s.Create("a")
	if err != nil {
		t.Fatal(err)
	}
	other, err := Open(base, "test-other")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	got, err := Find(base, "test")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Live{{Dir: s.Dir(), PID: os.Getpid()}}, got); diff != "" {
		t.Errorf("living sets (-want +got):\n%s", diff)
	}

	var want, in strings.Builder
	inside := exec.Command("/bin/readlink", "/proc/self/ns/net")
	inside.Stdout = &want
	if err := n.Run(inside); err != nil {
		t.Fatal(err)
	}
	from := exec.Command(os.Args[0])
	from.Env = append(os.Environ(), "NETNS_TEST_EXEC="+s.Dir())
	from.Stdout, from.Stderr = &in, os.Stderr
	if err := from.Run(); err != nil {
		t.Fatal(err)
	}
	if in.String() != want.String() || want.Len() == 0 {
		t.Errorf("the program ran in %q, want %q", in.String(), want.String())
	}
	if err := got[0].Exec("nowhere", "/bin/true", nil, nil); err == nil {
		t.Error("a node that is not there was entered")
	}

	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := Find(base, "test"); err != nil || len(got) != 0 {
		t.Errorf("after the end: %v, %v", got, err)
	}
}
