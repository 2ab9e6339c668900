package main

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/dpmip/dpmip/internal/strictconf"
	"github.com/dpmip/dpmip/mobility/registration"
	"github.com/dpmip/dpmip/mobility/transport"
	"github.com/dpmip/dpmip/mobility/wire"
)

// config is dpmip-router's file; docs/operations.md explains each key.
type config struct {
	StateDir  strictconf.Path   `toml:"state_dir,required"`
	Locators  []strictconf.Addr `toml:"locators,required"`
	Socket    strictconf.Path   `toml:"admin_socket"`
	Metrics   string            `toml:"metrics"`
	LogFormat string            `toml:"log_format"`
	LogLevel  string            `toml:"log_level"`
	Metric    uint32            `toml:"metric"`
	MaxRoutes int               `toml:"max_routes"`

	Insecure   bool              `toml:"insecure_accept_unauthenticated"`
	Enterprise uint32            `toml:"enterprise"`
	Management []managementTable `toml:"management,required"`
	Report     reportTable       `toml:"report"`
	Timers     timersTable       `toml:"timers"`
	Admin      adminTable        `toml:"admin"`
	FRR        frrTable          `toml:"frr"`
	BGP        bgpTable          `toml:"bgp"`
}

type managementTable struct {
	Locator strictconf.Addr `toml:"locator,required"`
	Keys    []keyTable      `toml:"keys"`
}

type keyTable struct {
	Send      uint32         `toml:"send,required"`
	Receive   uint32         `toml:"receive,required"`
	Algorithm string         `toml:"algorithm"`
	Key       strictconf.Key `toml:"key,required"`
}

type timersTable struct {
	Window     strictconf.Duration `toml:"window"`
	FirstRetry strictconf.Duration `toml:"first_retry"`
	Retry      strictconf.Duration `toml:"retry"`
	MaxRetry   strictconf.Duration `toml:"max_retry"`
	Heartbeat  strictconf.Duration `toml:"heartbeat"`
	Misses     int                 `toml:"misses"`
	Resync     strictconf.Duration `toml:"resync"`
}

// SetDefaults fills what the file may leave out.
func (c *config) SetDefaults() {
	c.Socket = "/run/dpmip/router.sock"
	c.Metric, c.MaxRoutes = 20, 65536
	c.BGP.Metric, c.BGP.GracefulRestart = 30, true
	c.Timers.Heartbeat, c.Timers.Misses = strictconf.Duration(time.Second), 3
	c.Timers.Resync = strictconf.Duration(30 * time.Second)
	c.Report.Interval = strictconf.Duration(time.Minute)
}

// Validate checks what spans keys.
func (c *config) Validate(src *strictconf.Source) error {
	if len(c.Locators) == 0 {
		return src.Errorf("locators", "is empty, want at least one address")
	}
	if c.Timers.Heartbeat <= 0 || c.Timers.Misses < 1 || c.Timers.Resync <= 0 {
		return src.Errorf("timers", "heartbeat, misses and resync must be positive")
	}
	for i, m := range c.Management {
		if len(m.Keys) == 0 && !c.Insecure {
			return src.Errorf(fmt.Sprintf("management[%d].keys", i), "is empty: without a key nothing is accepted (or set insecure_accept_unauthenticated)")
		}
		for j, k := range m.Keys {
			if _, err := k.algorithm(); err != nil {
				return src.Errorf(fmt.Sprintf("management[%d].keys[%d].algorithm", i, j), "%v", err)
			}
		}
	}
	_, err := transport.NewTable(c.peers(), c.Insecure)
	if err != nil {
		return src.Errorf("management", "%v", err)
	}
	return c.validateRoles(src)
}

func (c *config) validateRoles(src *strictconf.Source) error {
	if err := c.Admin.check(src); err != nil {
		return err
	}
	if err := c.Report.check(src); err != nil {
		return err
	}
	if _, err := c.FRR.options(); err != nil {
		return src.Errorf("frr", "%v", err)
	}
	if _, err := c.BGP.border(); err != nil {
		return src.Errorf("bgp", "%v", err)
	}
	if c.BGP.Metric == c.Metric || c.BGP.Metric == 0 {
		return src.Errorf("bgp.metric", "must differ from metric (%d), and from 0: imported routes stand beside the management node's", c.Metric)
	}
	return nil
}

func (k keyTable) algorithm() (wire.Algorithm, error) {
	switch k.Algorithm {
	case "", "hmac-sha256":
		return wire.HMACSHA256, nil
	case "hmac-sha1-96":
		return wire.HMACSHA1, nil
	}
	return 0, fmt.Errorf("%q is not known, want hmac-sha256 or hmac-sha1-96", k.Algorithm)
}

// peers lists the management nodes by locator, with their keys; the first key
// is sent with, all are accepted.
func (c *config) peers() []transport.Peer {
	var out []transport.Peer
	for _, m := range c.Management {
		p := transport.Peer{Addr: m.Locator.Addr}
		for i, k := range m.Keys {
			alg, _ := k.algorithm() // checked by Validate
			p.Receive = append(p.Receive, transport.Key{SPI: k.Receive, Algorithm: alg, Secret: k.Key.Bytes()})
			if i == 0 {
				p.Send = transport.Key{SPI: k.Send, Algorithm: alg, Secret: k.Key.Bytes()}
			}
		}
		out = append(out, p)
	}
	return out
}

func (c *config) management() []netip.Addr {
	var out []netip.Addr
	for _, m := range c.Management {
		out = append(out, m.Locator.Addr)
	}
	return out
}

func (c *config) node(seed uint64, restarts uint32) registration.Config {
	t := &c.Timers
	return registration.Config{
		Self: c.Locators[0].Addr, Management: c.management(), Window: t.Window.D(),
		FirstRetry: t.FirstRetry.D(), Retry: t.Retry.D(), MaxRetry: t.MaxRetry.D(),
		Heartbeat: t.Heartbeat.D(), Misses: t.Misses, RestartCount: restarts, Seed: seed, Enterprise: c.Enterprise,
	}
}
