package task

import (
	"context"
	"errors"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// journal notes the order in which things happen.
type journal struct {
	mu    sync.Mutex // guards lines
	lines []string
}

func (j *journal) add(s string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, s)
}

// recorder is a Readier that writes its life into the journal.
type recorder struct {
	name  string
	j     *journal
	ready chan struct{}
	fail  error // returned instead of becoming ready
}

func newRecorder(j *journal, name string) *recorder {
	return &recorder{name: name, j: j, ready: make(chan struct{})}
}

func (r *recorder) String() string         { return r.name }
func (r *recorder) Ready() <-chan struct{} { return r.ready }
func (r *recorder) Run(ctx context.Context) error {
	r.j.add("start " + r.name)
	if r.fail != nil {
		return r.fail
	}
	close(r.ready)
	<-ctx.Done()
	r.j.add("stop " + r.name)
	return ctx.Err()
}

func TestGroupStartsInOrderAndStopsInReverse(t *testing.T) {
	j := &journal{}
	ctx, cancel := context.WithCancel(context.Background())
	g := Group{
		Tasks:   []Task{newRecorder(j, "a"), newRecorder(j, "b"), newRecorder(j, "c")},
		OnReady: func() { j.add("ready"); cancel() },
	}
	if err := g.Run(ctx); err != nil {
		t.Fatal(err)
	}
	want := []string{"start a", "start b", "start c", "ready", "stop c", "stop b", "stop a"}
	if d := cmp.Diff(want, j.lines); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestGroupFailureStopsTheRest(t *testing.T) {
	j := &journal{}
	bad := newRecorder(j, "b")
	bad.fail = errors.New("disk full")
	g := Group{Tasks: []Task{newRecorder(j, "a"), bad, newRecorder(j, "c")}, OnReady: func() { t.Error("ready") }}
	err := g.Run(context.Background())
	if !errors.Is(err, bad.fail) || !strings.Contains(err.Error(), "b: disk full") {
		t.Errorf("err = %v", err)
	}
	if d := cmp.Diff([]string{"start a", "start b", "stop a"}, j.lines); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestGroupEndOfOneEndsAll(t *testing.T) {
	j := &journal{}
	g := Group{Tasks: []Task{newRecorder(j, "a"), Func("short", func(context.Context) error { return nil })}}
	if err := g.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"start a", "stop a"}, j.lines); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestSignals(t *testing.T) {
	// Until the watcher listens, SIGHUP would end this process.
	guard := make(chan os.Signal, 1)
	signal.Notify(guard, syscall.SIGHUP)
	defer signal.Stop(guard)
	reloaded := make(chan struct{})
	var once sync.Once
	reload := func() {
		once.Do(func() { close(reloaded); _ = syscall.Kill(os.Getpid(), syscall.SIGTERM) })
	}
	g := Group{
		Tasks: []Task{Signals(reload),
			Func("poke", func(ctx context.Context) error { return pokeUntil(ctx, reloaded) })},
	}
	if err := g.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// pokeUntil sends SIGHUP until the watcher, which may not listen yet, has seen
// one.
func pokeUntil(ctx context.Context, seen <-chan struct{}) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-seen:
			<-ctx.Done()
			return nil
		case <-tick.C:
			_ = syscall.Kill(os.Getpid(), syscall.SIGHUP)
		}
	}
}

func TestNotify(t *testing.T) {
	name := filepath.Join(t.TempDir(), "n")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	t.Setenv("NOTIFY_SOCKET", name)
	if err := Notify("READY=1"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 64)
	n, err := conn.Read(b)
	if err != nil || string(b[:n]) != "READY=1" {
		t.Errorf("read %q, %v", b[:n], err)
	}
}
