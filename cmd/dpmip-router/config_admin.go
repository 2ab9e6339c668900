package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"github.com/dpmip/dpmip/internal/strictconf"
)

// adminTable is [admin]: the admin interface over TCP, for the management node
// that asks whether a route is there. Mutual TLS or nothing.
type adminTable struct {
	Listen   string          `toml:"listen"`
	Cert     strictconf.Path `toml:"cert"`
	Key      strictconf.Path `toml:"key"`
	ClientCA strictconf.Path `toml:"client_ca"`
}

func (a *adminTable) check(src *strictconf.Source) error {
	if a.Listen == "" {
		return nil
	}
	for _, f := range []struct {
		name string
		path strictconf.Path
	}{{"cert", a.Cert}, {"key", a.Key}, {"client_ca", a.ClientCA}} {
		if f.path == "" {
			return src.Errorf("admin", "%s is missing: over TCP there is mutual TLS or nothing", f.name)
		}
	}
	if _, err := a.tls(); err != nil {
		return src.Errorf("admin", "%v", err)
	}
	return nil
}

func (a *adminTable) tls() (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(a.Cert.String(), a.Key.String())
	if err != nil {
		return nil, fmt.Errorf("cert and key: %w", err)
	}
	pem, err := os.ReadFile(a.ClientCA.String())
	if err != nil {
		return nil, fmt.Errorf("client_ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("client_ca: %s holds no certificate", a.ClientCA)
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13}, nil
}
