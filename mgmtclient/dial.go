package mgmtclient

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// ErrTarget is wrapped where a target is neither a socket path nor an https
// URL, or its TLS files cannot be used.
var ErrTarget = errors.New("mgmtclient: bad target")

// TLSFiles name the PEM files of mutual TLS. All three are needed for an
// https target, none for a socket.
type TLSFiles struct {
	CA, Cert, Key string
}

// Target is where a daemon's admin interface is found: "/run/dpmip/mgmt.sock",
// "unix:/run/dpmip/mgmt.sock" or "https://mgmt1.example:5437".
type Target struct {
	Address string
	TLS     TLSFiles
}

// dialTimeout bounds connecting only: some calls wait for a move.
const dialTimeout = 5 * time.Second

// dial returns an HTTP client and the base URL that a Connect client needs.
func (t Target) dial() (*http.Client, string, error) {
	if u, err := url.Parse(t.Address); err == nil && u.Scheme == "https" {
		conf, err := t.TLS.load()
		if err != nil {
			return nil, "", err
		}
		tr := &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: true, TLSHandshakeTimeout: dialTimeout,
			DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext}
		return &http.Client{Transport: tr}, strings.TrimSuffix(t.Address, "/"), nil
	}
	path := strings.TrimPrefix(t.Address, "unix:")
	if path == "" || strings.Contains(path, "://") {
		return nil, "", fmt.Errorf("%w: %q: want a socket path or an https URL", ErrTarget, t.Address)
	}
	dialer := &net.Dialer{Timeout: dialTimeout}
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, "unix", path)
	}}
	return &http.Client{Transport: tr}, "http://local", nil
}

func (f TLSFiles) load() (*tls.Config, error) {
	pem, err := os.ReadFile(f.CA)
	if err != nil {
		return nil, fmt.Errorf("%w: ca: %v", ErrTarget, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%w: ca %s: no certificate in it", ErrTarget, f.CA)
	}
	cert, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return nil, fmt.Errorf("%w: certificate and key: %v", ErrTarget, err)
	}
	return &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13}, nil
}
