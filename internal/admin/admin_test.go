package admin

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, s *Server) func() error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	select {
	case <-s.Ready():
	case err := <-done:
		t.Fatalf("%s: %v", s, err)
	}
	return func() error { cancel(); return <-done }
}

func get(t *testing.T, path, url string) (int, string) {
	t.Helper()
	tr := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", path) }}
	defer tr.CloseIdleConnections()
	r, err := (&http.Client{Transport: tr}).Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

func TestSocketServesHealthAndMetrics(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "a.sock")
	reg := prometheus.NewRegistry()
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: "dpmip_test_total", Help: "x"})
	reg.MustRegister(c)
	c.Inc()
	var sick error
	stop := start(t, Socket(path, Health(reg, func(context.Context) error { return sick })))
	if code, body := get(t, path, "http://x/healthz"); code != 200 || body != "ok\n" {
		t.Errorf("healthy: %d %q", code, body)
	}
	sick = errors.New("no answer from the management node")
	if code, body := get(t, path, "http://x/healthz"); code != 503 || !strings.Contains(body, "management node") {
		t.Errorf("sick: %d %q", code, body)
	}
	if _, body := get(t, path, "http://x/metrics"); !strings.Contains(body, "dpmip_test_total 1") {
		t.Errorf("metrics: %q", body)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v %v", fi, err)
	}
	if err := Socket(path, nil).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a second server: err = %v", err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestStaleSocketIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // as a killed process leaves it
	l.Close()
	if err := start(t, Socket(path, http.NotFoundHandler()))(); err != nil {
		t.Error(err)
	}
}

func TestLoggerRefusesUnknownWords(t *testing.T) {
	for _, c := range [][2]string{{"xml", "info"}, {"json", "loud"}} {
		if _, err := Logger(io.Discard, c[0], c[1]); err == nil {
			t.Errorf("%v accepted", c)
		}
	}
}
