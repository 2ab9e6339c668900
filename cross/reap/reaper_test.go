package reap

import (
	"context"
	"fmt"
	"io"
	"os"
	"syscall"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// running gives a Reaper that runs until the test ends. Tests of this package
// are not parallel: a process has one collector.
func running(t *testing.T) *Reaper {
	t.Helper()
	r := New()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return r
}

func shell(t *testing.T, r *Reaper, script string, out *os.File) *Child {
	t.Helper()
	c, err := r.Start(Spec{Path: "/bin/sh", Args: []string{"-c", script}, Env: []string{"PATH=/usr/bin:/bin"}, Output: out})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestStatus(t *testing.T) {
	r := running(t)
	for script, want := range map[string]string{"exit 0": "ended", "exit 3": "ended with status 3", "kill -9 $$": "killed by SIGKILL"} {
		if got := (<-shell(t, r, script, nil).Done()).String(); got != want {
			t.Errorf("%s: %q, want %q", script, got, want)
		}
	}
}

func TestManyThatEndAtOnce(t *testing.T) {
	r := running(t)
	var all []*Child
	for i := range 50 {
		all = append(all, shell(t, r, fmt.Sprintf("exit %d", i), nil))
	}
	for i, c := range all {
		if got := (<-c.Done()).ExitStatus(); got != i {
			t.Errorf("child %d ended with %d", i, got)
		}
	}
}

func TestSignalReachesTheGroup(t *testing.T) {
	r := running(t)
	pr, pw, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pr.Close()
	c := shell(t, r, "sh -c 'echo up; exec sleep 1000' & wait", pw)
	pw.Close()
	buf := make([]byte, 3)
	if _, err := io.ReadFull(pr, buf); err != nil {
		t.Fatal(err)
	}
	if err := c.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-c.Done()
	if rest, err := io.ReadAll(pr); err != nil || len(rest) != 0 { // EOF: the grandchild is gone, too
		t.Errorf("%q, %v", rest, err)
	}
	if err := c.Signal(syscall.SIGTERM); err != nil {
		t.Errorf("to one that has ended: %v", err)
	}
}

// TestOrphans has a child leave a grandchild behind, as daemons do.
func TestOrphans(t *testing.T) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	defer unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
	r := running(t)
	<-shell(t, r, "(exit 0) & exit 0", nil).Done()
	for r.Orphans() == 0 { // each round waits for a whole process
		<-shell(t, r, "exit 0", nil).Done()
	}
}

func TestNoProgram(t *testing.T) {
	r := running(t)
	if _, err := r.Start(Spec{Path: "/nonexistent/program"}); err == nil {
		t.Error("started")
	}
}
