package main

import (
	"fmt"
	"time"

	"github.com/dpmip/dpmip/dnsupdate"
	"github.com/dpmip/dpmip/internal/strictconf"
	"github.com/dpmip/dpmip/mgmt/inventory"
	"github.com/dpmip/dpmip/mgmt/server"
)

// names is the task that writes the DNS, with what a reload replaces.
type names struct {
	*server.Names
	zones *dnsupdate.Directory
	list  []dnsupdate.Zone // what zones holds
}

// zones are those of [dns], with their keys.
func (c *config) zones() ([]dnsupdate.Zone, error) {
	if c.DNS == nil {
		return nil, nil
	}
	return c.DNS.LoadZones()
}

// checkNames refuses services that nobody here can publish.
func (c *config) checkNames(inv *inventory.Inventory) error {
	var list []string
	if c.DNS != nil {
		for _, z := range c.DNS.Zones {
			list = append(list, z.Name)
		}
	}
	if err := inv.CheckNames(list); err != nil {
		return fmt.Errorf("%w; zones stand in [dns] of %s", err, c.path)
	}
	return nil
}

func (c *config) moveTTL() time.Duration {
	if c.DNS == nil {
		return 0
	}
	return c.DNS.MoveTTL.D()
}

// openNames makes the task that writes the DNS, where there is a [dns].
func (d *daemon) openNames() error {
	zones, err := d.cfg.zones()
	if err != nil || d.cfg.DNS == nil {
		return err
	}
	client := &dnsupdate.Client{Timeout: d.cfg.DNS.Timeout.D()}
	d.names = &names{zones: dnsupdate.NewDirectory(client, d.cfg.DNS.Resolver, zones), list: zones}
	d.names.Names = server.NewNames(d.loop, client, d.names.zones, d.cfg.DNS.Timing(), d.log)
	d.loop.UseNames(d.names.Names)
	return nil
}

// reloadNames reads the zones and their keys again, which is how a key is
// rolled; undo takes that back. [dns] cannot come or go without a restart.
func (d *daemon) reloadNames(inv *inventory.Inventory) (undo func(), err error) {
	undo = func() {}
	cfg, err := strictconf.Load[config](d.cfg.path)
	if err != nil {
		return undo, err
	}
	cfg.path = d.cfg.path
	if (cfg.DNS == nil) != (d.names == nil) {
		return undo, fmt.Errorf("%s: [dns] has come or gone: that needs a restart", d.cfg.path)
	}
	if err := cfg.checkNames(inv); err != nil || d.names == nil {
		return undo, err
	}
	zones, err := cfg.zones()
	if err != nil {
		return undo, err
	}
	before := d.names.list
	d.names.set(zones)
	return func() { d.names.set(before) }, nil
}

func (n *names) set(zones []dnsupdate.Zone) {
	n.list = zones
	n.zones.Replace(zones)
}
