package dnsupdate

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/dpmip/dpmip/internal/strictconf"
	"github.com/dpmip/dpmip/mobility"
)

// Config is the DNS part of a daemon's configuration.
type Config struct {
	// Resolver answers recursive questions where a zone names no servers; it
	// is needed only then.
	Resolver netip.AddrPort `toml:"resolver"`
	Zones    []ZoneConfig   `toml:"zone"`
	// Timeout bounds one exchange; FirstRetry, MaxRetry and ProofTimeout are
	// those of Timing. Zero values mean the defaults.
	Timeout      strictconf.Duration `toml:"timeout"`
	FirstRetry   strictconf.Duration `toml:"first_retry"`
	MaxRetry     strictconf.Duration `toml:"max_retry"`
	ProofTimeout strictconf.Duration `toml:"proof_timeout"`
	ProofLimit   strictconf.Duration `toml:"proof_limit"`
	// MoveTTL is that of a VM's addresses while a renumbering move is under way;
	// 0: 5 s.
	MoveTTL strictconf.Duration `toml:"move_ttl"`
}

// ZoneConfig is one zone that this node may update.
type ZoneConfig struct {
	Name string `toml:"name,required"`
	// Servers take updates, tried in order; none: the MNAME of the zone's SOA.
	Servers []netip.AddrPort `toml:"servers"`
	// Secondaries are where an update is to be proved, besides Servers; none,
	// with no Servers either: the zone's NS records.
	Secondaries []netip.AddrPort `toml:"secondaries"`
	// Keys are files with TSIG keys for every VM, tried in order.
	Keys []strictconf.Path `toml:"keys"`
	// VMKeys are files with keys for one VM, which then uses no others.
	VMKeys map[string][]strictconf.Path `toml:"vm_keys"`
}

// Zone is a zone with its servers and keys loaded.
type Zone struct {
	Name        string
	Servers     []netip.AddrPort
	Secondaries []netip.AddrPort
	Keys        []Key
	VMKeys      map[mobility.VMID][]Key
}

// ErrConfig is wrapped by errors of LoadZones.
var ErrConfig = errors.New("dnsupdate: configuration")

// LoadZones checks the zones and reads their key files.
func (c Config) LoadZones() ([]Zone, error) {
	if d := c.MoveTTL.D(); d < 0 || d%time.Second != 0 {
		return nil, fmt.Errorf("%w: move_ttl %v, want whole seconds", ErrConfig, d)
	}
	var zones []Zone
	for i, zc := range c.Zones {
		z, err := zc.load()
		if err != nil {
			return nil, fmt.Errorf("%w: zone[%d] %s: %w", ErrConfig, i, zc.Name, err)
		}
		if slices.ContainsFunc(zones, func(o Zone) bool { return o.Name == z.Name }) {
			return nil, fmt.Errorf("%w: zone[%d] %s appears twice", ErrConfig, i, zc.Name)
		}
		if len(z.Servers) == 0 && !c.Resolver.IsValid() {
			return nil, fmt.Errorf("%w: zone[%d] %s: no servers, and no resolver to find them", ErrConfig, i, zc.Name)
		}
		zones = append(zones, z)
	}
	return zones, nil
}

// Timing is that of the Machine.
func (c Config) Timing() Timing {
	return Timing{
		First: c.FirstRetry.D(), Max: c.MaxRetry.D(),
		Proof: c.ProofTimeout.D(), ProofLimit: c.ProofLimit.D(),
	}
}

func (zc ZoneConfig) load() (Zone, error) {
	if err := checkName("name", zc.Name); err != nil {
		return Zone{}, err
	}
	z := Zone{Name: canonical(zc.Name), Servers: zc.Servers, Secondaries: zc.Secondaries, VMKeys: map[mobility.VMID][]Key{}}
	var err error
	if z.Keys, err = LoadKeys(texts(zc.Keys)...); err != nil {
		return Zone{}, err
	}
	for text, paths := range zc.VMKeys {
		vm, err := mobility.ParseVMID(text)
		if err != nil {
			return Zone{}, fmt.Errorf("vm_keys: %w", err)
		}
		if z.VMKeys[vm], err = LoadKeys(texts(paths)...); err != nil {
			return Zone{}, err
		}
	}
	if len(z.Keys) == 0 && len(z.VMKeys) == 0 {
		return Zone{}, errors.New("no keys: updates are always signed")
	}
	return z, nil
}

func texts(paths []strictconf.Path) []string {
	s := make([]string, len(paths))
	for i, p := range paths {
		s[i] = p.String()
	}
	return s
}

// keysOf are the keys for one VM.
func (z Zone) keysOf(vm mobility.VMID) []Key {
	if k, ok := z.VMKeys[vm]; ok {
		return k
	}
	return z.Keys
}

// proofServers are all servers of the zone, each once.
func (z Zone) proofServers() []netip.AddrPort {
	var list []netip.AddrPort
	for _, s := range slices.Concat(z.Servers, z.Secondaries) {
		if !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	return list
}
