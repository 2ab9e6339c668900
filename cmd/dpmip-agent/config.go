package main

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"github.com/dpmip/dpmip/agent"
	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/detect"
	"github.com/dpmip/dpmip/internal/peerconf"
	"github.com/dpmip/dpmip/internal/strictconf"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
)

// config is dpmip-agent's file; docs/operations.md explains each key.
type config struct {
	Name      string            `toml:"name,required"` // as the inventory has it
	StateDir  strictconf.Path   `toml:"state_dir,required"`
	Locators  []strictconf.Addr `toml:"locators,required"`
	Socket    strictconf.Path   `toml:"control_socket"`
	Metrics   string            `toml:"metrics"`
	LogFormat string            `toml:"log_format"`
	LogLevel  string            `toml:"log_level"`

	Ranges       []strictconf.Prefix `toml:"ranges"`
	Pools        []strictconf.Prefix `toml:"pools"`
	PortTemplate string              `toml:"port_template"`
	VMs          []vmTable           `toml:"vm"`

	Insecure   bool                  `toml:"insecure_accept_unauthenticated"`
	Enterprise uint32                `toml:"enterprise"`
	Management []peerconf.Management `toml:"management,required"`
	Report     reportTable           `toml:"report"`

	Device deviceTable `toml:"device,required"`
	Region regionTable `toml:"region,required"`
	Hold   holdTable   `toml:"hold"`
	Timers timersTable `toml:"timers"`
}

type vmTable struct {
	ID        mobility.VMID     `toml:"id,required"`
	Port      string            `toml:"port"`
	MAC       mobility.MAC      `toml:"mac"`
	Addresses []strictconf.Addr `toml:"addresses"`
}

// reportTable says where figures of moves are reported to; no target = nowhere.
type reportTable struct {
	Target string          `toml:"target"`
	CA     strictconf.Path `toml:"ca"`
	Cert   strictconf.Path `toml:"cert"`
	Key    strictconf.Path `toml:"key"`
	// Traffic is how often the traffic of VMs that are not at home here is told.
	Traffic strictconf.Duration `toml:"traffic"`
}

type deviceTable struct {
	Backend    string          `toml:"backend"` // auto, software, switchdev
	Attach     string          `toml:"attach"`  // auto, tcx, cls_bpf
	SkipHW     bool            `toml:"skip_hw"` // filters of switchdev stay in the kernel
	Fabric     []string        `toml:"fabric,required"`
	BPFDir     strictconf.Path `toml:"bpf_dir"`
	MaxRules   int             `toml:"max_rules"`
	MaxFlows   int             `toml:"max_flows"`
	GatewayMAC mobility.MAC    `toml:"gateway_mac"`
	PathMTU    uint16          `toml:"path_mtu"`
}

type regionTable struct {
	Path   strictconf.Path `toml:"path,required"`
	Size   int64           `toml:"size"`   // bytes
	Routes int             `toml:"routes"` // kernel routes that the journal has room for
}

type holdTable struct {
	Packets int                 `toml:"packets"`
	Bytes   int                 `toml:"bytes"`
	Time    strictconf.Duration `toml:"time"`
}

type timersTable struct {
	Window       strictconf.Duration `toml:"window"`
	FirstRetry   strictconf.Duration `toml:"first_retry"`
	Retry        strictconf.Duration `toml:"retry"`
	MaxRetry     strictconf.Duration `toml:"max_retry"`
	Heartbeat    strictconf.Duration `toml:"heartbeat"`
	Misses       int                 `toml:"misses"`
	Lifetime     strictconf.Duration `toml:"lifetime"`
	Quarantine   strictconf.Duration `toml:"quarantine"`
	DrainQuiet   strictconf.Duration `toml:"drain_quiet"`
	DrainPoll    strictconf.Duration `toml:"drain_poll"`
	DrainRetry   strictconf.Duration `toml:"drain_retry"`
	RefusedRetry strictconf.Duration `toml:"refused_retry"`
	Spread       strictconf.Duration `toml:"spread"`
	Resync       strictconf.Duration `toml:"resync"`
}

// SetDefaults fills what the file may leave out.
func (c *config) SetDefaults() {
	c.Socket = "/run/dpmip/agent.sock"
	c.Region.Size, c.Region.Routes = 16<<20, 4096
	c.Timers.Heartbeat, c.Timers.Misses = strictconf.Duration(time.Second), 3
	c.Report.Traffic = strictconf.Duration(10 * time.Second)
	c.Timers.Resync = strictconf.Duration(30 * time.Second)
}

// Validate checks what spans keys.
func (c *config) Validate(src *strictconf.Source) error {
	for _, check := range []func(*strictconf.Source) error{c.checkLocators, c.checkPrefixes, c.checkVMs, c.checkManagement, c.checkReport, c.checkDevice} {
		if err := check(src); err != nil {
			return err
		}
	}
	return nil
}

func (c *config) checkLocators(src *strictconf.Source) error {
	var v6, v4 int
	for _, l := range c.Locators {
		if l.Is4() {
			v4++
		} else {
			v6++
		}
	}
	if v6 > 1 || v4 > 1 || v6+v4 == 0 {
		return src.Errorf("locators", "has %d IPv6 and %d IPv4 addresses, want one of either or both", v6, v4)
	}
	return nil
}

// checkPrefixes refuses ranges and pools that overlap anything, and pools too
// narrow for checksum-neutral addresses.
func (c *config) checkPrefixes(src *strictconf.Source) error {
	type named struct {
		key string
		p   netip.Prefix
	}
	var all []named
	for i, p := range c.Ranges {
		all = append(all, named{fmt.Sprintf("ranges[%d]", i), p.Prefix})
	}
	for i, p := range c.Pools {
		key := fmt.Sprintf("pools[%d]", i)
		if p.Addr().Is6() && p.Bits() > 96 {
			return src.Errorf(key, "%s is too narrow, want /96 or wider", p)
		}
		all = append(all, named{key, p.Prefix})
	}
	for i, n := range all {
		for _, before := range all[:i] {
			if n.p.Overlaps(before.p) {
				return src.Errorf(n.key, "%s overlaps %s (%s)", n.p, before.p, before.key)
			}
		}
		for _, l := range c.Locators {
			if n.p.Contains(l.Addr) {
				return src.Errorf(n.key, "%s contains the locator %s", n.p, l)
			}
		}
	}
	return nil
}

func (c *config) checkVMs(src *strictconf.Source) error {
	ids, ports, addrs := map[mobility.VMID]int{}, map[string]int{}, map[netip.Addr]int{}
	for i, v := range c.VMs {
		key := fmt.Sprintf("vm[%d]", i)
		if j, twice := ids[v.ID]; twice {
			return src.Errorf(key+".id", "%s is already vm[%d]", v.ID, j)
		}
		ids[v.ID] = i
		if j, twice := ports[v.Port]; twice && v.Port != "" {
			return src.Errorf(key+".port", "%q is already that of vm[%d]", v.Port, j)
		}
		ports[v.Port] = i
		for k, a := range v.Addresses {
			if j, twice := addrs[a.Addr]; twice {
				return src.Errorf(fmt.Sprintf("%s.addresses[%d]", key, k), "%s is already that of vm[%d]", a, j)
			}
			addrs[a.Addr] = i
		}
	}
	return nil
}

func (c *config) checkReport(src *strictconf.Source) error {
	if c.Report.Traffic < 0 {
		return src.Errorf("report.traffic", "%v is negative, want 0 (never) or more", c.Report.Traffic.D())
	}
	return nil
}

func (c *config) checkManagement(src *strictconf.Source) error {
	if c.Timers.Heartbeat <= 0 || c.Timers.Misses < 1 {
		return src.Errorf("timers", "heartbeat and misses must be positive")
	}
	return peerconf.Check(src, c.Management, c.Insecure)
}

func (c *config) checkDevice(src *strictconf.Source) error {
	d := &c.Device
	switch {
	case !slices.Contains([]string{"", detect.Auto, detect.Software, detect.Switchdev}, d.Backend):
		return src.Errorf("device.backend", "%q is not known, want %s, %s or %s", d.Backend, detect.Auto, detect.Software, detect.Switchdev)
	case d.SkipHW && d.Backend == detect.Software:
		return src.Errorf("device.skip_hw", "is of the backend %s, and device.backend is %s", detect.Switchdev, detect.Software)
	case d.Backend == detect.Switchdev && d.Attach == detect.AttachTCX:
		return src.Errorf("device.attach", "%s comes before every filter of the backend %s: leave it away", detect.AttachTCX, detect.Switchdev)
	case len(d.Fabric) == 0:
		return src.Errorf("device.fabric", "is empty, want the ports towards the fabric")
	case c.Region.Size < 1<<20:
		return src.Errorf("region.size", "%d bytes, want at least %d", c.Region.Size, 1<<20)
	case c.Region.Routes < 1:
		return src.Errorf("region.routes", "%d, want at least 1", c.Region.Routes)
	}
	return nil
}

// self gives the locator that Requests come from, and the IPv4 one.
func (c *config) self() (self, v4 netip.Addr) {
	for _, l := range c.Locators {
		if l.Is4() {
			v4 = l.Addr
		} else {
			self = l.Addr
		}
	}
	if !self.IsValid() {
		self = v4
	}
	return self, v4
}

func (c *config) registration(seed uint64, restarts uint32) registration.Config {
	t := &c.Timers
	out := registration.Config{
		Window: t.Window.D(), FirstRetry: t.FirstRetry.D(), Retry: t.Retry.D(), MaxRetry: t.MaxRetry.D(),
		Heartbeat: t.Heartbeat.D(), Misses: t.Misses, RestartCount: restarts, Seed: seed, Enterprise: c.Enterprise,
	}
	out.Self, _ = c.self()
	out.Management = peerconf.Locators(c.Management)
	return out
}

// agent is the configuration of the Core.
func (c *config) agent(r registration.Config, caps hwabstraction.Capabilities, seed [32]byte) agent.Config {
	t := &c.Timers
	out := agent.Config{
		Registration: r, PortTemplate: c.PortTemplate, Static: make(map[mobility.VMID]agent.Static),
		Lifetime: t.Lifetime.D(), Quarantine: t.Quarantine.D(), DrainQuiet: t.DrainQuiet.D(), DrainPoll: t.DrainPoll.D(),
		DrainRetry: t.DrainRetry.D(), RefusedRetry: t.RefusedRetry.D(), Spread: t.Spread.D(),
		TrafficInterval: c.trafficInterval(),
		Hold:            c.hold(), PathMTU: c.Device.PathMTU, Capabilities: caps, Seed: seed,
	}
	_, out.Locator4 = c.self()
	for _, p := range c.Ranges {
		out.Ranges = append(out.Ranges, p.Prefix)
	}
	for _, p := range c.Pools {
		out.Pools = append(out.Pools, p.Prefix)
	}
	for _, l := range c.Locators {
		out.Reserved = append(out.Reserved, l.Addr)
	}
	for _, v := range c.VMs {
		s := agent.Static{Port: v.Port, MAC: v.MAC}
		for _, a := range v.Addresses {
			s.Addresses = append(s.Addresses, a.Addr)
		}
		out.Static[v.ID] = s
	}
	return out
}

// trafficInterval is 0 where there is nobody to report to.
func (c *config) trafficInterval() time.Duration {
	if c.Report.Target == "" {
		return 0
	}
	return c.Report.Traffic.D()
}

func (c *config) hold() hwabstraction.HoldLimit {
	return hwabstraction.HoldLimit{Packets: c.Hold.Packets, Bytes: c.Hold.Bytes, Time: c.Hold.Time.D()}
}

// bpfDir is where programs are pinned: beside the state, unless told.
func (c *config) bpfDir() string {
	if c.Device.BPFDir != "" {
		return c.Device.BPFDir.String()
	}
	return filepath.Join(c.StateDir.String(), "bpf")
}

// hardware is what the agent opens, but for its log.
func (c *config) hardware() detect.Config {
	d, r := &c.Device, &c.Region
	return detect.Config{
		Backend: d.Backend, Attach: d.Attach, SkipHW: d.SkipHW, BPFDir: c.bpfDir(), Fabric: d.Fabric, MaxRules: d.MaxRules, MaxFlows: d.MaxFlows,
		GatewayMAC: d.GatewayMAC, Hold: c.hold(),
		Region: detect.RegionConfig{
			Path: r.Path.String(), Size: r.Size, Journal: areaJournal,
			Areas: []detect.Area{{Name: areaJournal, Size: detect.JournalSize(r.Routes)}, {Name: areaList}},
		},
	}
}
