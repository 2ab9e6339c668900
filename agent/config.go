package agent

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
)

// Static is what the configuration says of one VM.
type Static struct {
	Port      string
	MAC       mobility.MAC
	Addresses []netip.Addr
}

// Config configures a Core. Zero durations mean the defaults named.
type Config struct {
	Registration registration.Config // the Role is set by NewCore
	Locator4     netip.Addr          // own IPv4 locator; invalid = none
	Ranges       []netip.Prefix      // addresses of VMs that are at home here
	Pools        []netip.Prefix      // delivery addresses
	Reserved     []netip.Addr        // never given out
	Static       map[mobility.VMID]Static
	// PortTemplate names the port of a VM that is not in Static: "{vm}" is
	// replaced by the identifier up to its first "@". Empty: no such VM.
	PortTemplate string

	Lifetime   time.Duration // wanted, default 1 h
	Quarantine time.Duration // of delivery addresses, default 60 s
	DrainQuiet time.Duration // how long a redirect must be quiet, default 60 s
	DrainPoll  time.Duration // how often counters are read, default DrainQuiet / 4, 10 ms to 5 s
	DrainRetry time.Duration // after a "not yet", doubling to 16 times, default DrainQuiet
	// TrafficInterval is how often the traffic of addresses that are not at home
	// here is reported; 0 = never.
	TrafficInterval time.Duration
	RefusedRetry    time.Duration // after a refused refresh or COMMIT, default 10 s
	Spread          time.Duration // over which all VMs register again, default 2 s

	Hold         hwabstraction.HoldLimit // zero fields: the device's defaults
	PathMTU      uint16                  // of the path to other hypervisors; 0 = that of the route
	Capabilities hwabstraction.Capabilities
	// Seed feeds delivery addresses, new addresses and jitter. A daemon takes
	// it from crypto/rand.
	Seed [32]byte
}

func (c *Config) setDefaults() {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.Lifetime, time.Hour)
	def(&c.Quarantine, time.Minute)
	def(&c.DrainQuiet, time.Minute)
	def(&c.DrainPoll, min(max(c.DrainQuiet/4, 10*time.Millisecond), 5*time.Second))
	def(&c.DrainRetry, c.DrainQuiet)
	def(&c.RefusedRetry, 10*time.Second)
	def(&c.Spread, 2*time.Second)
}

// validate refuses what NewCore cannot work with.
func (c *Config) validate() error {
	if !c.Registration.Self.IsValid() {
		return fmt.Errorf("agent: no locator")
	}
	if len(c.Registration.Management) == 0 {
		return fmt.Errorf("agent: no locator of a management node")
	}
	for _, p := range c.Pools {
		if p.Addr().Is6() && p.Bits() > 96 {
			return fmt.Errorf("agent: delivery pool %s: want /96 or wider", p)
		}
		for _, r := range c.Ranges {
			if p.Overlaps(r) {
				return fmt.Errorf("agent: delivery pool %s overlaps VM range %s", p, r)
			}
		}
	}
	return nil
}
