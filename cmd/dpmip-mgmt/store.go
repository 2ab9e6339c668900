package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/dpmip/dpmip/internal/strictconf"
	"github.com/dpmip/dpmip/internal/task"
	"github.com/dpmip/dpmip/mgmt/store"
	"github.com/dpmip/dpmip/mgmt/store/bolt"
	"github.com/dpmip/dpmip/mgmt/store/etcd"
)

// storeTable says where the records are: in a file, or in an etcd cluster that
// several replicas of this program share.
type storeTable struct {
	Kind         string              `toml:"kind"`
	Endpoints    []string            `toml:"endpoints"`
	Prefix       string              `toml:"prefix"`
	Name         string              `toml:"name"`
	Lease        strictconf.Duration `toml:"lease"`
	CA           strictconf.Path     `toml:"ca"`
	Cert         strictconf.Path     `toml:"cert"`
	Key          strictconf.Path     `toml:"key"`
	Username     string              `toml:"username"`
	PasswordFile strictconf.Path     `toml:"password_file"`
}

func (s *storeTable) validate(src *strictconf.Source) error {
	switch s.Kind {
	case "bolt":
		for _, f := range []struct {
			name string
			set  bool
		}{
			{"endpoints", len(s.Endpoints) > 0}, {"prefix", s.Prefix != ""}, {"name", s.Name != ""}, {"lease", s.Lease != 0}, {"ca", s.CA != ""},
			{"cert", s.Cert != ""}, {"key", s.Key != ""}, {"username", s.Username != ""}, {"password_file", s.PasswordFile != ""},
		} {
			if f.set {
				return src.Errorf("store."+f.name, `is of no use without store.kind = "etcd"`)
			}
		}
		return nil
	case "etcd":
	default:
		return src.Errorf("store.kind", `%q is not known, want "bolt" or "etcd"`, s.Kind)
	}
	if len(s.Endpoints) == 0 {
		return src.Errorf("store", "endpoints is missing: where is etcd?")
	}
	for _, e := range s.Endpoints {
		if !strings.HasPrefix(e, "https://") && !strings.HasPrefix(e, "http://") {
			return src.Errorf("store.endpoints", "%q: want https://HOST:PORT or http://HOST:PORT", e)
		}
	}
	if d := time.Duration(s.Lease); s.Lease != 0 && (d < time.Second || d > time.Minute) {
		return src.Errorf("store.lease", "%v: want 1s to 1m", d)
	}
	if (s.Username == "") != (s.PasswordFile == "") {
		return src.Errorf("store", "username and password_file belong together")
	}
	if (s.Cert == "") != (s.Key == "") {
		return src.Errorf("store", "cert and key belong together")
	}
	if _, err := s.etcd(); err != nil {
		return src.Errorf("store", "%v", err)
	}
	return nil
}

// etcd reads the files that the table names.
func (s *storeTable) etcd() (etcd.Config, error) {
	c := etcd.Config{Endpoints: s.Endpoints, Prefix: s.Prefix, Name: s.Name, TTL: time.Duration(s.Lease), Username: s.Username}
	if c.Name == "" {
		c.Name, _ = os.Hostname() // a name for people: empty is none
	}
	if s.PasswordFile != "" {
		b, err := os.ReadFile(s.PasswordFile.String())
		if err != nil {
			return c, fmt.Errorf("password_file: %w", err)
		}
		c.Password = strings.TrimRight(string(b), "\r\n")
	}
	if s.CA == "" && s.Cert == "" {
		return c, nil
	}
	c.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	if s.CA != "" {
		pem, err := os.ReadFile(s.CA.String())
		if err != nil {
			return c, fmt.Errorf("ca: %w", err)
		}
		c.TLS.RootCAs = x509.NewCertPool()
		if !c.TLS.RootCAs.AppendCertsFromPEM(pem) {
			return c, fmt.Errorf("ca: no certificate in %s", s.CA)
		}
	}
	if s.Cert != "" {
		cert, err := tls.LoadX509KeyPair(s.Cert.String(), s.Key.String())
		if err != nil {
			return c, fmt.Errorf("cert and key: %w", err)
		}
		c.TLS.Certificates = []tls.Certificate{cert}
	}
	return c, nil
}

// records is a store that the daemon closes.
type records interface {
	store.Store
	io.Closer
}

// openRecords opens the store. A replica that does not lead waits here, as long
// as it takes; to systemd it has started.
func openRecords(ctx context.Context, cfg *config, log *slog.Logger) (records, error) {
	if cfg.Store.Kind == "bolt" {
		return bolt.Open(cfg.state("mgmt.db"))
	}
	c, err := cfg.Store.etcd()
	if err != nil {
		return nil, err
	}
	c.Log = log
	if err := task.Notify("READY=1\nSTATUS=waiting to lead"); err != nil {
		log.Warn("telling systemd", "err", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	alive := make(chan error, 1)
	go func() { alive <- task.Watchdog(func(context.Context) error { return nil }).Run(ctx) }()
	s, err := etcd.Open(ctx, c)
	cancel()
	<-alive // its ctx has ended: nothing to say
	if err != nil {
		return nil, err
	}
	if err := task.Notify("STATUS=leads"); err != nil {
		log.Warn("telling systemd", "err", err)
	}
	return s, nil
}

// deposition ends the daemon when another replica leads; started again it waits.
func deposition(s store.Store) task.Task {
	return task.Func("leadership", func(ctx context.Context) error {
		e, ok := s.(*etcd.Store)
		if !ok {
			<-ctx.Done()
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-e.Deposed():
			return etcd.ErrDeposed
		}
	})
}
