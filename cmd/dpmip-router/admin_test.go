package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/api/dpmip/v1/dpmipv1connect"
	"github.com/dpmip/dpmip/mgmtclient"
)

// inside is set in the copy of the test that has a network of its own.
const inside = "DPMIP_ROUTER_TEST_INSIDE"

// routerAt is the router's locator in that network.
const routerAt = "2001:db8:0:a::1"

// inNamespace runs the test again in a network namespace of its own; false
// outside, where it has passed or failed then.
func inNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv(inside) != "" {
		for _, args := range []string{"link set lo up", "addr add " + routerAt + "/128 dev lo"} {
			if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
				t.Fatalf("ip %s: %v: %s", args, err, out)
			}
		}
		return true
	}
	if os.Geteuid() != 0 {
		t.Fatal("network namespaces need root")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("in the namespace: %v\n%s", err, out)
	}
	return false
}

// authority is a certificate authority in a folder.
type authority struct {
	t         *testing.T
	dir, name string
	cert      *x509.Certificate
	key       *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, dir, name string) *authority {
	t.Helper()
	a := &authority{t: t, dir: dir, name: name, key: newKey(t)}
	a.cert = &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a.write(name+".crt", "CERTIFICATE", a.sign(a.cert, &a.key.PublicKey))
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (a *authority) sign(c *x509.Certificate, k *ecdsa.PublicKey) []byte {
	a.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, k, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return der
}

func (a *authority) write(name, kind string, der []byte) string {
	a.t.Helper()
	path := filepath.Join(a.dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return path
}

// issue makes the files of a name, which is valid until the given time.
func (a *authority) issue(name string, until time.Time) mgmtclient.TLSFiles {
	a.t.Helper()
	k := newKey(a.t)
	der := a.sign(&x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.ParseIP(routerAt)},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: until, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}, &k.PublicKey)
	secret, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		a.t.Fatal(err)
	}
	file := a.name + "-" + name
	return mgmtclient.TLSFiles{CA: filepath.Join(a.dir, a.name+".crt"), Cert: a.write(file+".crt", "CERTIFICATE", der), Key: a.write(file+".key", "EC PRIVATE KEY", secret)}
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
	if !inNamespace(t) {
		return
	}
	dir := t.TempDir()
	ca, other := newAuthority(t, dir, "ca"), newAuthority(t, dir, "other")
	later := time.Now().Add(time.Hour)
	serve(t, dir, ca.issue("tor-a", later))
	const url = "https://[" + routerAt + "]:5438"
	ask := func(f mgmtclient.TLSFiles) error {
		f.CA = filepath.Join(dir, "ca.crt")
		c, err := mgmtclient.OpenRouter(mgmtclient.Target{Address: url, TLS: f})
		if err != nil {
			t.Fatal(err)
		}
		return useOf(t, c)
	}
	mgmt := ca.issue("mgmt", later)
	for deadline := time.Now().Add(20 * time.Second); ask(mgmt) != nil; { // until it listens
		if time.Now().After(deadline) {
			t.Fatalf("the management node asks: %v", ask(mgmt))
		}
	}
	for name, f := range map[string]mgmtclient.TLSFiles{
		"another authority": other.issue("mgmt", later),
		"an old one":        ca.issue("old", time.Now().Add(-time.Hour)),
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
