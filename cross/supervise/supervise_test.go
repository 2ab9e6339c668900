package supervise

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/dpmip/dpmip/cross/reap"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// script is a program of the shell.
func script(s string) Program {
	return Program{Path: "/bin/sh", Args: []string{"-c", s}, Env: []string{"PATH=/usr/bin:/bin"}}
}

// output collects what programs print, and says when a text is there.
type output struct {
	mu   sync.Mutex // guards all fields
	buf  bytes.Buffer
	want string
	seen chan struct{}
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf.Write(b)
	if o.seen != nil && strings.Contains(o.buf.String(), o.want) {
		close(o.seen)
		o.seen = nil
	}
	return len(b), nil
}

// waitFor blocks until the programs have printed a text.
func (o *output) waitFor(text string) {
	o.mu.Lock()
	ch := make(chan struct{})
	if strings.Contains(o.buf.String(), text) {
		close(ch)
	} else {
		o.want, o.seen = text, ch
	}
	o.mu.Unlock()
	<-ch
}

// scene runs a supervisor with real children until the test ends. Tests of this
// package are not parallel: a process has one collector.
type scene struct {
	*Supervisor
	out    *output
	events chan Event
	cancel context.CancelFunc
	done   chan struct{}
}

func run(t *testing.T, cfg Config, p Program) *scene {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := reap.New()
	reaped := make(chan struct{})
	rctx, rcancel := context.WithCancel(context.Background())
	go func() { defer close(reaped); _ = r.Run(rctx) }()
	s := &scene{out: &output{}, events: make(chan Event, 1000), cancel: cancel, done: make(chan struct{})}
	cfg.Starter, cfg.Output = r, s.out
	cfg.Event = func(e Event) { s.events <- e }
	if cfg.MinDelay == 0 {
		cfg.MinDelay, cfg.MaxDelay = time.Millisecond, 4*time.Millisecond
	}
	s.Supervisor = New(cfg, p)
	go func() { defer close(s.done); _ = s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-s.done; rcancel(); <-reaped })
	return s
}

// next gives the next event of a kind.
func (s *scene) next(k EventKind) Event {
	for e := range s.events {
		if e.Kind == k {
			return e
		}
	}
	panic("unreachable: the channel is never closed")
}

func TestStartedAgainAndAgain(t *testing.T) {
	s := run(t, Config{}, script("echo once; exit 7"))
	for range 5 {
		if e := s.next(Ended); e.Detail != "ended with status 7" {
			t.Errorf("%+v", e)
		}
	}
}

func TestKilledFromOutsideComesBack(t *testing.T) {
	s := run(t, Config{}, script("echo up; exec sleep 1000"))
	e := s.next(Started)
	s.out.waitFor("up")
	if err := syscall.Kill(e.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if e := s.next(Ended); e.Detail != "killed by SIGKILL" {
		t.Errorf("%+v", e)
	}
	if again := s.next(Started); again.PID == e.PID {
		t.Error("the same process")
	}
}

func TestStopIsPolite(t *testing.T) {
	s := run(t, Config{}, script(`trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.01; done`))
	s.out.waitFor("up")
	s.cancel()
	<-s.done
	s.out.waitFor("bye")
	if e := s.next(Ended); e.Detail != "ended" {
		t.Errorf("%+v", e)
	}
}

func TestWhoIgnoresSIGTERMIsKilled(t *testing.T) {
	s := run(t, Config{Stop: 20 * time.Millisecond}, script(`trap '' TERM; echo up; while :; do sleep 0.01; done`))
	s.out.waitFor("up")
	s.cancel()
	<-s.done
	s.next(Killed)
	if e := s.next(Ended); e.Detail != "killed by SIGKILL" {
		t.Errorf("%+v", e)
	}
}

func TestSwitch(t *testing.T) {
	s := run(t, Config{}, script("echo first; exec sleep 1000"))
	s.out.waitFor("first")
	if err := s.Switch(context.Background(), script("echo second; exec sleep 1000")); err != nil {
		t.Fatal(err)
	}
	s.next(Ended) // before Switch returned
	s.out.waitFor("second")
	if err := s.Restart(context.Background()); err != nil {
		t.Fatal(err)
	}
	s.next(Ended)
	s.cancel()
	<-s.done
	if err := s.Restart(context.Background()); err != ErrStopped {
		t.Errorf("after the end: %v", err)
	}
}

func TestSwitchAwayFromWhatCannotStart(t *testing.T) {
	s := run(t, Config{MinDelay: time.Hour}, Program{Path: "/nonexistent"})
	s.next(Failed)
	if err := s.Switch(context.Background(), script("echo second; exec sleep 1000")); err != nil {
		t.Fatal(err)
	}
	s.out.waitFor("second")
}

// TestHangingIsEnded has a probe without an answer.
func TestHangingIsEnded(t *testing.T) {
	var hangs atomic.Bool
	hangs.Store(true)
	cfg := Config{Grace: time.Nanosecond, Every: time.Millisecond, Timeout: time.Millisecond, Probe: func(ctx context.Context) (Health, string) {
		if hangs.Load() {
			<-ctx.Done()
			return Dead, "no answer"
		}
		return Well, "ok"
	}}
	s := run(t, cfg, script("exec sleep 1000"))
	first := s.next(Started)
	if e := s.next(Unhealthy); e.PID != first.PID || !strings.Contains(e.Detail, "3 times no answer") {
		t.Errorf("%+v", e)
	}
	hangs.Store(false)
	s.next(Started)
}

func TestJudge(t *testing.T) {
	cfg := Config{}.withDefaults()
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	tests := map[string]struct {
		findings []finding
		every    int // seconds
		want     string
	}{
		"well":             {[]finding{{Well, ""}, {Well, ""}}, 2, ""},
		"slow start":       {[]finding{{Dead, ""}, {Dead, ""}, {Dead, ""}, {Dead, ""}, {Well, ""}}, 2, ""},
		"never starts":     {[]finding{{Dead, ""}, {Dead, ""}, {Dead, ""}, {Dead, ""}, {Dead, ""}, {Dead, ""}, {Dead, "x"}}, 2, "3 times no answer: x"},
		"two are forgiven": {[]finding{{Dead, ""}, {Dead, ""}, {Well, ""}, {Dead, ""}, {Dead, ""}}, 20, ""},
		"sick a while":     {[]finding{{Sick, ""}, {Sick, ""}, {Well, ""}, {Sick, ""}}, 30, ""},
		"sick for long":    {[]finding{{Sick, ""}, {Sick, ""}, {Sick, "rules"}}, 30, "sick for 1m0s: rules"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			j := judge{cfg: &cfg, start: at(0)}
			got := ""
			for i, f := range tt.findings {
				got = j.next(f, at((i+1)*tt.every))
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// failing never starts anything.
type failing struct{}

func (failing) Start(reap.Spec) (*reap.Child, error) { return nil, syscall.ENOENT }

// TestDelaysGrow looks at the pauses, in virtual time.
func TestDelaysGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		var at []time.Duration
		start := time.Now()
		s := New(Config{Starter: failing{}, MinDelay: time.Second, MaxDelay: 5 * time.Second, Event: func(Event) {
			if at = append(at, time.Since(start)); len(at) == 6 {
				cancel()
			}
		}}, Program{})
		if err := s.Run(ctx); err != nil {
			t.Fatal(err)
		}
		want := []time.Duration{0, 1 * time.Second, 3 * time.Second, 7 * time.Second, 12 * time.Second, 17 * time.Second}
		if d := cmp.Diff(want, at); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	})
}
