package main

import (
	"time"

	"github.com/dpmip/dpmip/internal/peerconf"
	"github.com/dpmip/dpmip/internal/strictconf"
	"github.com/dpmip/dpmip/mobility/registration"
	"github.com/dpmip/dpmip/router/fib"
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
	Rules     []ruleTable       `toml:"metrics_of"`
	MaxRoutes int               `toml:"max_routes"`

	Insecure   bool                  `toml:"insecure_accept_unauthenticated"`
	Enterprise uint32                `toml:"enterprise"`
	Management []peerconf.Management `toml:"management,required"`
	Report     reportTable           `toml:"report"`
	Timers     timersTable           `toml:"timers"`
	Admin      adminTable            `toml:"admin"`
	FRR        frrTable              `toml:"frr"`
	BGP        bgpTable              `toml:"bgp"`
}

// ruleTable is one [[metrics_of]].
type ruleTable struct {
	Prefixes []strictconf.Prefix `toml:"prefixes,required"`
	Metric   uint32              `toml:"metric,required"`
}

// metrics is which host route gets which metric.
func (c *config) metrics() fib.Metrics {
	m := fib.Metrics{Default: c.Metric}
	for _, r := range c.Rules {
		for _, p := range r.Prefixes {
			m.Rules = append(m.Rules, fib.Rule{Prefix: p.Prefix, Metric: r.Metric})
		}
	}
	return m
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
	if err := peerconf.Check(src, c.Management, c.Insecure); err != nil {
		return err
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
	m := c.metrics()
	if err := m.Check(c.BGP.Metric); err != nil {
		return src.Errorf("metrics_of", "%v", err)
	}
	return nil
}

func (c *config) node(seed uint64, restarts uint32) registration.Config {
	t := &c.Timers
	return registration.Config{
		Self: c.Locators[0].Addr, Management: peerconf.Locators(c.Management), Window: t.Window.D(),
		FirstRetry: t.FirstRetry.D(), Retry: t.Retry.D(), MaxRetry: t.MaxRetry.D(),
		Heartbeat: t.Heartbeat.D(), Misses: t.Misses, RestartCount: restarts, Seed: seed, Enterprise: c.Enterprise,
	}
}
