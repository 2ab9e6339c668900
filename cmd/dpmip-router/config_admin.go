package main

import (
	"crypto/tls"

	"github.com/dpmip/dpmip/internal/admin"
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
	return admin.MutualTLS(a.Cert.String(), a.Key.String(), a.ClientCA.String())
}
