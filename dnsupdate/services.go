package dnsupdate

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/miekg/dns"

	"github.com/dpmip/dpmip/internal/strictconf"
)

// Bounds of a service list; with them a message stays far below 64 KiB.
const (
	MaxNames = 32
	MaxSRV   = 32
)

// DefaultTTL is the TTL of records whose list names none.
const DefaultTTL = 5 * time.Minute

// maxTTL is the bound of RFC 2181 section 8, in the resolution of the DNS.
const maxTTL = (1<<31 - 1) * time.Second

// ErrServices is wrapped by every error about a service list or a state.
var ErrServices = errors.New("dnsupdate: bad service list")

// Services is the service list of a VM: what the DNS says about it, apart from
// the addresses. Names are absolute; the final dot may be left out.
type Services struct {
	Names []Name `toml:"names" json:"names,omitempty"`
	SRV   []SRV  `toml:"srv" json:"srv,omitempty"`
	// Reverse is the name that the PTR records of the VM's addresses give;
	// empty: no PTR records.
	Reverse string `toml:"reverse" json:"reverse,omitempty"`
	// TTL of every record that names no other; 0 means DefaultTTL.
	TTL strictconf.Duration `toml:"ttl" json:"ttl,omitempty"`
}

// Name is an owner of A and AAAA records.
type Name struct {
	Name string `toml:"name,required" json:"name"`
	// Shared says that other VMs have addresses at the name as well: only this
	// VM's own are added and removed. Without it all A and AAAA records at the
	// name are this VM's, and those of another live VM are an error.
	Shared bool                `toml:"shared" json:"shared,omitempty"`
	TTL    strictconf.Duration `toml:"ttl" json:"ttl,omitempty"`
}

// SRV is a service record (RFC 2782) whose target is one of the list's names.
// Records of other VMs at its name are left alone.
type SRV struct {
	Name     string              `toml:"name,required" json:"name"`
	Priority uint16              `toml:"priority" json:"priority"`
	Weight   uint16              `toml:"weight" json:"weight"`
	Port     uint16              `toml:"port,required" json:"port"`
	Target   string              `toml:"target,required" json:"target"`
	TTL      strictconf.Duration `toml:"ttl" json:"ttl,omitempty"`
}

// Validate reports the first thing in the list that cannot be published.
func (s Services) Validate() error {
	switch {
	case len(s.Names) > MaxNames:
		return fmt.Errorf("%w: %d names, at most %d", ErrServices, len(s.Names), MaxNames)
	case len(s.SRV) > MaxSRV:
		return fmt.Errorf("%w: %d SRV records, at most %d", ErrServices, len(s.SRV), MaxSRV)
	}
	if err := checkTTL("ttl", s.TTL); err != nil {
		return err
	}
	var seen []string
	for i, n := range s.Names {
		where := fmt.Sprintf("names[%d]", i)
		if err := errors.Join(checkName(where, n.Name), checkTTL(where, n.TTL)); err != nil {
			return err
		}
		if c := canonical(n.Name); slices.Contains(seen, c) {
			return fmt.Errorf("%w: %s: %s appears twice", ErrServices, where, c)
		}
		seen = append(seen, canonical(n.Name))
	}
	for i, v := range s.SRV {
		where := fmt.Sprintf("srv[%d]", i)
		if err := errors.Join(checkName(where, v.Name), checkTTL(where, v.TTL)); err != nil {
			return err
		}
		if !slices.Contains(seen, canonical(v.Target)) {
			return fmt.Errorf("%w: %s: target %q is not one of the VM's names", ErrServices, where, v.Target)
		}
	}
	if s.Reverse == "" {
		return nil
	}
	return checkName("reverse", s.Reverse)
}

// checkName wants a name that has room for EpochLabel in front of it.
func checkName(where, name string) error {
	if name == "" {
		return fmt.Errorf("%w: %s: no name", ErrServices, where)
	}
	if _, ok := dns.IsDomainName(EpochLabel + "." + dns.Fqdn(name)); !ok {
		return fmt.Errorf("%w: %s: %q is not a domain name, or too long", ErrServices, where, name)
	}
	return nil
}

func checkTTL(where string, ttl strictconf.Duration) error {
	if d := ttl.D(); d < 0 || d > maxTTL || d%time.Second != 0 {
		return fmt.Errorf("%w: %s: TTL %v, want whole seconds up to %v", ErrServices, where, d, maxTTL)
	}
	return nil
}

// canonical is the form in which names are compared and sent.
func canonical(name string) string { return dns.CanonicalName(name) }

// epochName is the owner of the epoch records beside a name.
func epochName(name string) string { return EpochLabel + "." + name }
