package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dpmip/dpmip/cross/control"
	"github.com/dpmip/dpmip/cross/machine"
	"github.com/dpmip/dpmip/cross/ringlog"
	"github.com/dpmip/dpmip/internal/strictconf"
)

func TestExample(t *testing.T) {
	c, err := strictconf.Load[machine.Config]("example/init.toml")
	if err != nil {
		t.Fatal(err)
	}
	if c.Hostname != "dpu-a" || len(c.Links) != 1 || len(c.Routes) != 2 || c.Update.Tries != 3 {
		t.Errorf("%+v", c)
	}
}

// call runs the command line.
func call(args ...string) (stdout, stderr string, err error) {
	var o, e bytes.Buffer
	err = run(context.Background(), args, &o, &e)
	return o.String(), e.String(), err
}

func TestCommandLine(t *testing.T) {
	for _, args := range [][]string{{}, {"fly"}, {"update"}, {"status", "more"}, {"-colour"}, {"--config", "/etc/dpmip/agent.toml"}} {
		if _, stderr, err := call(args...); !errors.Is(err, errUsage) || !strings.Contains(stderr, "usage: dpmip-init") {
			t.Errorf("%q: %v, %q", args, err, stderr)
		}
	}
	if out, _, err := call("version"); err != nil || !strings.Contains(out, "go1.") {
		t.Errorf("%q, %v", out, err)
	}
	if _, _, err := call("-socket", filepath.Join(t.TempDir(), "none"), "status"); err == nil || !strings.Contains(err.Error(), "is dpmip-init PID 1 here?") {
		t.Errorf("err = %v", err)
	}
}

func TestCheckConfig(t *testing.T) {
	if out, _, err := call("check-config", "example/init.toml"); err != nil || !strings.Contains(out, "good") {
		t.Errorf("%q, %v", out, err)
	}
	bad := filepath.Join(t.TempDir(), "init.toml")
	if err := os.WriteFile(bad, []byte("hostname = 7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := call("check-config", bad); err == nil || !strings.Contains(err.Error(), "init.toml:1: hostname") {
		t.Errorf("err = %v", err)
	}
}

func TestLog(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ring")
	r, err := ringlog.Open(file, ringlog.MinSize)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Write([]byte("boot: it serves\n")); err != nil {
		t.Fatal(err)
	}
	if out, _, err := call("-ring", file, "log"); err != nil || out != "boot: it serves\n" {
		t.Errorf("%q, %v", out, err)
	}
}

// TestAsks runs the command against a PID 1 of the test's own.
func TestAsks(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	ctx, cancel := context.WithCancel(context.Background())
	done, asked := make(chan error), make(chan control.Request, 4)
	go func() {
		done <- control.Serve(ctx, socket, func(_ context.Context, r control.Request, step func(string)) (any, error) {
			asked <- r
			step("reading and checking the bundle")
			if r.Verb == "update" {
				return nil, errors.New("the signature is not by the card's key")
			}
			return map[string]string{"slot": "a"}, nil
		})
	}()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	var out string
	err := errors.New("nobody listens yet")
	for errors.Is(err, os.ErrNotExist) || out == "" { // until the server is up
		if out, _, err = call("-socket", socket, "status"); err == nil {
			break
		}
	}
	var st struct{ Slot string }
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &st); err != nil || st.Slot != "a" || len(lines) != 2 {
		t.Errorf("%q, %v", out, err)
	}
	if r := <-asked; r.Verb != "status" {
		t.Errorf("asked %+v", r)
	}
	if _, _, err := call("-socket", socket, "update", "x.bundle"); !errors.Is(err, control.ErrRefused) || !strings.Contains(err.Error(), "signature") {
		t.Errorf("err = %v", err)
	}
	if r := <-asked; !filepath.IsAbs(r.File) || filepath.Base(r.File) != "x.bundle" {
		t.Errorf("asked %+v", r)
	}
}

func TestASlowConsoleStopsNobody(t *testing.T) {
	block := make(chan struct{})
	defer close(block)
	c := newConsole(writer(func(b []byte) (int, error) { <-block; return len(b), nil }))
	for range 10 * consoleQueue { // would hang here
		if n, err := c.Write([]byte("line\n")); n != 5 || err != nil {
			t.Fatal(n, err)
		}
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }
