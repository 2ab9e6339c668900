package main

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"path/filepath"

	"github.com/dpmip/dpmip/dnsupdate"
	"github.com/dpmip/dpmip/internal/admin"
	"github.com/dpmip/dpmip/internal/peerconf"
	"github.com/dpmip/dpmip/internal/strictconf"
	"github.com/dpmip/dpmip/mgmt/inventory"
	"github.com/dpmip/dpmip/mobility/transport"
)

// config is dpmip-mgmt's file; docs/operations.md explains each key.
type config struct {
	StateDir   strictconf.Path   `toml:"state_dir,required"`
	Locators   []strictconf.Addr `toml:"locators,required"`
	Device     string            `toml:"device"`
	Inventory  strictconf.Path   `toml:"inventory,required"`
	Socket     strictconf.Path   `toml:"admin_socket"`
	Admin      adminTable        `toml:"admin"`
	Store      storeTable        `toml:"store"`
	Metrics    string            `toml:"metrics"`
	LogFormat  string            `toml:"log_format"`
	LogLevel   string            `toml:"log_level"`
	Enterprise uint32            `toml:"enterprise"`
	DNS        *dnsupdate.Config `toml:"dns"`

	path string // of the file
}

// adminTable is the admin interface over TCP: mutual TLS or none.
type adminTable struct {
	Listen    string          `toml:"listen"`
	Cert      strictconf.Path `toml:"cert"`
	Key       strictconf.Path `toml:"key"`
	ClientCA  strictconf.Path `toml:"client_ca"`
	Operators []string        `toml:"operators"`
}

// SetDefaults fills what the file may leave out.
func (c *config) SetDefaults() {
	c.Socket = "/run/dpmip/mgmt.sock"
	c.Store.Kind = "bolt"
}

// Validate checks what spans keys.
func (c *config) Validate(src *strictconf.Source) error {
	if len(c.Locators) == 0 {
		return src.Errorf("locators", "is empty, want at least one address")
	}
	if err := c.Store.validate(src); err != nil {
		return err
	}
	if _, err := c.zones(); err != nil {
		return src.Errorf("dns", "%v", err)
	}
	a := &c.Admin
	for _, f := range []struct{ name, path string }{{"cert", a.Cert.String()}, {"key", a.Key.String()}, {"client_ca", a.ClientCA.String()}} {
		switch {
		case a.Listen == "" && f.path != "":
			return src.Errorf("admin."+f.name, "is of no use without admin.listen")
		case a.Listen != "" && f.path == "":
			return src.Errorf("admin", "%s is missing: over TCP there is mutual TLS or nothing", f.name)
		}
	}
	if a.Listen == "" {
		return nil
	}
	if _, err := a.tls(); err != nil {
		return src.Errorf("admin", "%v", err)
	}
	return nil
}

func (a *adminTable) tls() (*tls.Config, error) {
	return admin.MutualTLS(a.Cert.String(), a.Key.String(), a.ClientCA.String())
}

// load reads the configuration and the inventory that it names.
func load(path string) (*config, *inventory.Inventory, error) {
	cfg, err := strictconf.Load[config](path)
	if err != nil {
		return nil, nil, err
	}
	inv, err := inventory.Load(cfg.Inventory.String())
	if err != nil {
		return nil, nil, err
	}
	cfg.path = path
	if err := cfg.checkNames(inv); err != nil {
		return nil, nil, err
	}
	if _, err := peers(inv); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", cfg.Inventory, err)
	}
	for _, l := range cfg.Locators {
		if name := inv.Peer(l.Addr); name != "" {
			return nil, nil, fmt.Errorf("%s: locator %s is also that of %s in %s", path, l, name, cfg.Inventory)
		}
	}
	return &cfg, inv, nil
}

func (c *config) locators() []netip.Addr {
	var list []netip.Addr
	for _, l := range c.Locators {
		list = append(list, l.Addr)
	}
	return list
}

func (c *config) state(name string) string { return filepath.Join(c.StateDir.String(), name) }

// peers makes the transport's allow-list: the first locator of each peer, where
// its messages come from and go to, with its keys.
func peers(inv *inventory.Inventory) (*transport.Table, error) {
	var list []transport.Peer
	for _, h := range inv.Hypervisors {
		list = append(list, peerconf.Peer(h.Locators[0], h.Keys))
	}
	for _, r := range inv.Routers {
		list = append(list, peerconf.Peer(r.Locators[0], r.Keys))
	}
	return transport.NewTable(list, inv.Policy.AcceptUnauthenticated)
}
