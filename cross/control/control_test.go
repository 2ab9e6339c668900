package control

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serving runs a server until the test ends.
func serving(t *testing.T, h Handler) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	if err := os.WriteFile(socket, nil, 0o600); err != nil { // left by one that was killed
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- Serve(ctx, socket, h) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	for { // until it listens: a connection answers at once then
		if c, err := net.Dial("unix", socket); err == nil {
			c.Close()
			return socket
		}
	}
}

func echo(_ context.Context, r Request, step func(string)) (any, error) {
	step("reading " + r.File)
	if r.Verb != "update" {
		return nil, errors.New("what is " + r.Verb + "?")
	}
	step("done")
	return map[string]int{"version": 7}, nil
}

func TestCall(t *testing.T) {
	socket := serving(t, echo)
	var steps []string
	note := func(s string) { steps = append(steps, s) }
	got, err := Call(context.Background(), socket, Request{Verb: "update", File: "/x"}, note)
	if err != nil || string(got) != `{"version":7}` {
		t.Errorf("%s, %v", got, err)
	}
	if d := cmp.Diff([]string{"reading /x", "done"}, steps); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if _, err := Call(context.Background(), socket, Request{Verb: "fly"}, note); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "what is fly?") {
		t.Errorf("err = %v", err)
	}
	if st, err := os.Stat(socket); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
}

func TestCallerThatGoesAwayEndsNothing(t *testing.T) {
	gone, finished := make(chan struct{}), make(chan error, 1)
	socket := serving(t, func(ctx context.Context, r Request, step func(string)) (any, error) {
		if r.Verb == "" {
			return nil, nil
		}
		<-gone
		step("still here")
		finished <- ctx.Err()
		return nil, nil
	})
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, `{"verb":"update"}`+"\n"); err != nil {
		t.Fatal(err)
	}
	c.Close()
	close(gone)
	if err := <-finished; err != nil {
		t.Errorf("the work was ended: %v", err)
	}
}

func TestNoise(t *testing.T) {
	socket := serving(t, echo)
	for _, text := range []string{"not json\n", strings.Repeat("x", maxRequest+1)} {
		c, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, text); err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(c) // a reset is as good an answer as none
		if len(b) > 0 && !strings.Contains(string(b), `"error"`) {
			t.Errorf("answer %q", b)
		}
		c.Close()
	}
}

func TestNobodyThere(t *testing.T) {
	_, err := Call(context.Background(), filepath.Join(t.TempDir(), "s"), Request{}, nil)
	if err == nil || errors.Is(err, ErrRefused) {
		t.Errorf("err = %v", err)
	}
}
