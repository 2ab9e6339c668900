package machine

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/dpmip/dpmip/internal/strictconf"
)

// Config is init.toml, the card's own file; docs/bluefield.md explains it.
type Config struct {
	Hostname string   `toml:"hostname"`
	Modules  []string `toml:"modules"` // besides the image's list; files below /lib/modules
	Sysctls  []string `toml:"sysctls"` // "name=value"
	Links    []Link   `toml:"link"`
	Routes   []Route  `toml:"route"`

	Metrics string `toml:"metrics"` // address of PID 1's own; "" = none

	Agent    Agent    `toml:"agent"`
	Update   Update   `toml:"update"`
	Watchdog Watchdog `toml:"watchdog"`
	Memory   Memory   `toml:"memory"`
}

// Link is one network port.
type Link struct {
	Name      string         `toml:"name,required"`
	Addresses []netip.Prefix `toml:"addresses"` // with the host's part: "192.0.2.1/24"
	MTU       int            `toml:"mtu"`
	// Peer makes a veth pair of Name and Peer, where there is no hardware.
	Peer string `toml:"peer"`
}

// Route is one static route; without to it is the default of via's family.
type Route struct {
	To     strictconf.Prefix `toml:"to"`
	Via    strictconf.Addr   `toml:"via"`
	Device string            `toml:"device"`
}

// Agent says how the agent is run and asked.
type Agent struct {
	Config strictconf.Path `toml:"config"`
	Socket strictconf.Path `toml:"socket"`
	// Off starts none: a card that is only looked at.
	Off bool `toml:"off"`
}

// Update says when an update has proved itself.
type Update struct {
	Keys     strictconf.Path     `toml:"keys"` // public keys, a line each
	Deadline strictconf.Duration `toml:"deadline"`
	Settle   strictconf.Duration `toml:"settle"`
	Tries    int                 `toml:"tries"`
}

// Watchdog is the card's hardware watchdog.
type Watchdog struct {
	Device  strictconf.Path     `toml:"device"`
	Timeout strictconf.Duration `toml:"timeout"` // 0 = not used
}

// Memory is what the agent's region lies in.
type Memory struct {
	HugePages int `toml:"huge_pages"` // of 2 MiB, mounted at /dev/hugepages; 0 = none
}

// SetDefaults fills what the file may leave out.
func (c *Config) SetDefaults() {
	c.Hostname = "dpmip"
	c.Agent.Config = ConfigDir + "/agent.toml"
	c.Agent.Socket = "/run/dpmip/agent.sock"
	c.Update = Update{Keys: ConfigDir + "/update.keys", Deadline: strictconf.Duration(time.Minute), Settle: strictconf.Duration(5 * time.Second), Tries: 3}
	c.Watchdog = Watchdog{Device: "/dev/watchdog", Timeout: strictconf.Duration(20 * time.Second)}
}

// Validate checks what spans keys.
func (c *Config) Validate(src *strictconf.Source) error {
	for i, s := range c.Sysctls {
		if name, value, ok := strings.Cut(s, "="); !ok || name == "" || value == "" || strings.Contains(name, "..") {
			return src.Errorf(fmt.Sprintf("sysctls[%d]", i), "%q is no name=value", s)
		}
	}
	for i, r := range c.Routes {
		if !r.Via.IsValid() && r.Device == "" {
			return src.Errorf(fmt.Sprintf("route[%d]", i), "has neither via nor device")
		}
		if !r.Via.IsValid() && !r.To.IsValid() {
			return src.Errorf(fmt.Sprintf("route[%d].to", i), "missing: without via the family is unknown")
		}
	}
	switch {
	case c.Update.Tries < 1 || c.Update.Tries > 100:
		return src.Errorf("update.tries", "%d, want 1 to 100", c.Update.Tries)
	case c.Update.Settle <= 0 || c.Update.Deadline <= c.Update.Settle:
		return src.Errorf("update.deadline", "%v is not longer than settle, %v", c.Update.Deadline, c.Update.Settle)
	case c.Watchdog.Timeout != 0 && c.Watchdog.Timeout.D() < 2*time.Second:
		return src.Errorf("watchdog.timeout", "%v, want at least 2s", c.Watchdog.Timeout)
	case c.Memory.HugePages < 0:
		return src.Errorf("memory.huge_pages", "%d is negative", c.Memory.HugePages)
	}
	return nil
}
