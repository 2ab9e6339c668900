package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/api/dpmip/v1/dpmipv1connect"
	"github.com/dpmip/dpmip/internal/authority"
	"github.com/dpmip/dpmip/internal/nstest"
	"github.com/dpmip/dpmip/mgmtclient"
)

// routerAt is the router's locator in the namespace of a test.
const routerAt = "2001:db8:0:a::1"

// issuer makes the files of names that are valid until a time, by one authority.
func issuer(t *testing.T, dir, name string) func(of string, until time.Time) mgmtclient.TLSFiles {
	t.Helper()
	ca, err := authority.New(name)
	if err != nil {
		t.Fatal(err)
	}
	return func(of string, until time.Time) mgmtclient.TLSFiles {
		t.Helper()
		f, err := ca.Issue(dir, name+"-"+of+"-", authority.Subject{Name: of, At: []netip.Addr{netip.MustParseAddr(routerAt)}, Until: until})
		if err != nil {
			t.Fatal(err)
		}
		return mgmtclient.TLSFiles(f)
	}
}

// serve runs the daemon with [admin] until the test ends.
func serve(t *testing.T, dir string, own mgmtclient.TLSFiles) {
	t.Helper()
	data, err := os.ReadFile("example/router.toml")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer(`"/var/lib/dpmip"`, fmt.Sprintf("%q", filepath.Join(dir, "state")), `"/run/dpmip/router.sock"`, fmt.Sprintf("%q", filepath.Join(dir, "router.sock")),
		`, "10.0.10.1"`, "").Replace(string(data))
	text += fmt.Sprintf("\n[admin]\nlisten = \"[%s]:5438\"\ncert = %q\nkey = %q\nclient_ca = %q\n", routerAt, own.Cert, own.Key, own.CA)
	path := filepath.Join(dir, "router.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx, []string{"--config", path}, io.Discard, io.Discard) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the daemon ends with %v", err)
		}
	})
}

// TestAdminOverMutualTLS: the admin interface over TCP answers who has a
// certificate of the authority, and nobody else.
func TestAdminOverMutualTLS(t *testing.T) {
	if !nstest.Run(t, netip.MustParseAddr(routerAt)) {
		return
	}
	dir := t.TempDir()
	ca, other := issuer(t, dir, "ca"), issuer(t, dir, "other")
	later := time.Now().Add(time.Hour)
	own := ca("tor-a", later)
	serve(t, dir, own)
	const url = "https://[" + routerAt + "]:5438"
	ask := func(f mgmtclient.TLSFiles) error {
		f.CA = own.CA
		c, err := mgmtclient.OpenRouter(mgmtclient.Target{Address: url, TLS: f})
		if err != nil {
			t.Fatal(err)
		}
		return useOf(t, c)
	}
	mgmt := ca("mgmt", later)
	for deadline := time.Now().Add(20 * time.Second); ask(mgmt) != nil; { // until it listens
		if time.Now().After(deadline) {
			t.Fatalf("the management node asks: %v", ask(mgmt))
		}
	}
	for name, f := range map[string]mgmtclient.TLSFiles{
		"another authority": other("mgmt", later),
		"an old one":        ca("old", time.Now().Add(-time.Hour)),
	} {
		if err := ask(f); err == nil || connect.IsWireError(err) { // an answer of the server
			t.Errorf("a certificate of %s: %v, want no answer", name, err)
		}
	}
	if res, err := http.Get("http://[" + routerAt + "]:5438/healthz"); err == nil {
		_ = res.Body.Close()
		if res.StatusCode == http.StatusOK {
			t.Errorf("without TLS: %s", res.Status)
		}
	}
}

// useOf asks for the room of the example's router.
func useOf(t *testing.T, c dpmipv1connect.RouterServiceClient) error {
	t.Helper()
	u, err := c.GetUse(t.Context(), connect.NewRequest(&v1.GetUseRequest{}))
	if err == nil && (u.Msg.Limit != 65536 || u.Msg.Routes != 0) {
		t.Errorf("it says %v, want 0 of 65536 routes", u.Msg)
	}
	return err
}
