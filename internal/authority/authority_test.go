package authority_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/dpmip/dpmip/internal/authority"
)

// TestIssue: the files are what TLS takes, the certificate proves name and
// address, by this authority and as long as it was asked for.
func TestIssue(t *testing.T) {
	t.Parallel()
	dir, until := t.TempDir(), time.Now().Add(time.Minute)
	ca, other := made(t, "ca"), made(t, "other")
	f, err := ca.Issue(dir, "x-", authority.Subject{Name: "mgmt", At: []netip.Addr{netip.MustParseAddr("2001:db8::1")}, Until: until})
	if err != nil {
		t.Fatal(err)
	}
	strange, err := other.Issue(dir, "y-", authority.Subject{Name: "mgmt"})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, host, roots string
		at                time.Time
		ok                bool
	}{
		{"as it is", "2001:db8::1", f.CA, time.Now(), true},
		{"another address", "2001:db8::2", f.CA, time.Now(), false},
		{"another authority", "2001:db8::1", strange.CA, time.Now(), false},
		{"too late", "2001:db8::1", f.CA, until.Add(time.Second), false},
	} {
		_, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: c.host, Roots: pool(t, c.roots), CurrentTime: c.at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
		if (err == nil) != c.ok {
			t.Errorf("%s: %v, want it to be taken: %v", c.name, err, c.ok)
		}
	}
	if pair.Leaf.Subject.CommonName != "mgmt" {
		t.Errorf("it proves %q", pair.Leaf.Subject.CommonName)
	}
}

func made(t *testing.T, name string) *authority.Authority {
	t.Helper()
	a, err := authority.New(name)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func pool(t *testing.T, path string) *x509.CertPool {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(b) {
		t.Fatalf("%s holds no certificate", path)
	}
	return p
}
