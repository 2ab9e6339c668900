package health

import (
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dpmip/dpmip/cross/supervise"
)

// serve answers on a socket until the test ends.
func serve(t *testing.T, h http.Handler) *Client {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	t.Cleanup(func() { srv.Close(); <-done })
	return New(socket)
}

func TestProbe(t *testing.T) {
	code := 200
	c := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != "GET" || r.URL.Path != "/healthz" {
			t.Errorf("asked %s %s", r.Method, r.URL)
		}
		w.WriteHeader(code)
		io.WriteString(w, "3 rules are missing\n")
	}))
	if h, _ := c.Probe(context.Background()); h != supervise.Well {
		t.Errorf("%v", h)
	}
	code = 503
	if h, text := c.Probe(context.Background()); h != supervise.Sick || text != "3 rules are missing" {
		t.Errorf("%v, %q", h, text)
	}
	if h, _ := New(filepath.Join(t.TempDir(), "none")).Probe(context.Background()); h != supervise.Dead {
		t.Errorf("without a socket: %v", h)
	}
}

func TestAHangingAgentIsDead(t *testing.T) {
	release := make(chan struct{})
	c := serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer close(release)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if h, _ := c.Probe(ctx); h != supervise.Dead {
		t.Errorf("%v", h)
	}
}

func TestDoctor(t *testing.T) {
	answer := `{"checks":[{"name":"management","state":"ok","found":"2001:db8::1 answers"},{"name":"rules","state":"failed","found":"x","advice":"y"}],"more":1}`
	c := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != "POST" || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("asked %s, %v", r.Method, r.Header)
		}
		io.WriteString(w, answer)
	}))
	got, err := c.Doctor(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]Check{
		"management": {Name: "management", State: "ok", Found: "2001:db8::1 answers"},
		"rules":      {Name: "rules", State: "failed", Found: "x", Advice: "y"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	answer = "not found"
	if _, err := c.Doctor(context.Background()); err == nil {
		t.Error("took text for JSON")
	}
}

func TestFit(t *testing.T) {
	checks := func(states ...string) map[string]Check {
		out := map[string]Check{}
		for i, name := range []string{Management, Rules, VMs} {
			if states[i] != "" {
				out[name] = Check{Name: name, State: states[i], Found: name + " as seen"}
			}
		}
		return out
	}
	tests := map[string]struct {
		before, now map[string]Check
		want        string
	}{
		"good":           {nil, checks("ok", "ok", "ok"), ""},
		"no heartbeat":   {checks("warning", "ok", "ok"), checks("warning", "ok", "ok"), "management: warning: management as seen"},
		"rules missing":  {nil, checks("ok", "failed", "ok"), "rules: failed: rules as seen"},
		"VM refused":     {checks("ok", "ok", "ok"), checks("ok", "ok", "warning"), "vms: warning: vms as seen"},
		"refused before": {checks("ok", "ok", "warning"), checks("ok", "ok", "warning"), ""},
		"nothing at all": {nil, nil, "the doctor does not report on rules"},
		"no word of VMs": {nil, checks("ok", "ok", ""), "the doctor does not report on vms"},
		"could not tell": {nil, checks("unknown", "ok", "ok"), "management: unknown: management as seen"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(tt.want, Fit(tt.before, tt.now)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}
