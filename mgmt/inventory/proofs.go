package inventory

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/dpmip/dpmip/internal/strictconf"
)

// ProofPolicy is how much a kind of proof counts. The zero value is invalid.
type ProofPolicy uint8

// Policies.
const (
	ProofOff     ProofPolicy = iota + 1 // nobody is asked
	ProofAsk                            // who can be asked is asked, and what is asked must be seen
	ProofRequire                        // a move that cannot be proved is refused
)

var proofWords = [...]string{"invalid", "off", "ask", "require"}

func (p ProofPolicy) String() string { return proofWords[min(int(p), len(proofWords)-1)] }

// UnmarshalText reads the word of a policy.
func (p *ProofPolicy) UnmarshalText(b []byte) error {
	i := slices.Index(proofWords[1:], string(b))
	if i < 0 {
		return fmt.Errorf("%q is no policy of proofs, want off, ask or require", b)
	}
	*p = ProofPolicy(i + 1)
	return nil
}

// Proofs says what is to be seen of the network before a move is ready.
type Proofs struct {
	Delivery ProofPolicy // of packets to the delivery addresses, default ask
	Source   ProofPolicy // of packets from the VM's addresses, default ask
	Routes   ProofPolicy // of the observers' host routes after a routed move, default ask
	// Announced: of host routes of a probe address before a routed move, default
	// ask where there are Probes.
	Announced ProofPolicy
	Probes    []netip.Prefix // what probe addresses are taken from, nobody's else
	Observers []string       // routers and observers that must reach the delivery addresses, and have the routes
	// Outside are asked like the Observers, but not to reach the delivery addresses,
	// which borders keep inside: BGP peers.
	Outside  []string
	Deadline time.Duration // default 5 s
}

// Everywhere lists those whose host routes matter.
func (p *Proofs) Everywhere() []string { return slices.Concat(p.Observers, p.Outside) }

type proofTable struct {
	Delivery  ProofPolicy         `toml:"delivery"`
	Source    ProofPolicy         `toml:"source"`
	Routes    ProofPolicy         `toml:"routes"`
	Announced ProofPolicy         `toml:"announced"`
	Probes    []strictconf.Prefix `toml:"probes"`
	Observers []string            `toml:"observers"`
	Outside   []string            `toml:"outside"`
	Deadline  strictconf.Duration `toml:"deadline"`
}

func (b *builder) proofs(t *proofTable) error {
	if err := b.observing("observers", t.Observers, nil); err != nil {
		return err
	}
	if err := b.observing("outside", t.Outside, t.Observers); err != nil {
		return err
	}
	if t.Deadline < 0 {
		return b.src.Errorf("policy.proofs.deadline", "%v is negative", t.Deadline.D())
	}
	probes, err := b.probes(t)
	if err != nil {
		return err
	}
	announced := orElse(t.Announced, ProofOff)
	if t.Announced == 0 && len(probes) > 0 {
		announced = ProofAsk
	}
	b.inv.Policy.Proofs = Proofs{
		Delivery: orElse(t.Delivery, ProofAsk), Source: orElse(t.Source, ProofAsk),
		Routes: orElse(t.Routes, ProofAsk), Observers: t.Observers, Outside: t.Outside, Deadline: orD(t.Deadline, 5*time.Second),
		Announced: announced, Probes: probes,
	}
	return nil
}

// observing checks a list of those who are asked; none may be in the other list.
func (b *builder) observing(key string, list, other []string) error {
	for i, name := range list {
		switch at := fmt.Sprintf("policy.proofs.%s[%d]", key, i); {
		case !b.inv.Observes(name):
			return b.src.Errorf(at, "no router and no observer is called %q", name)
		case slices.Contains(other, name):
			return b.src.Errorf(at, "%q is one of the observers", name)
		}
	}
	return nil
}

// probeRoom is how many bits of a probe address are free at least: one address
// per move that is being prepared.
const probeRoom = 4

// probes checks the ranges of the probe addresses.
func (b *builder) probes(t *proofTable) (list []netip.Prefix, err error) {
	for i, p := range t.Probes {
		key := fmt.Sprintf("policy.proofs.probes[%d]", i)
		if room := p.Addr().BitLen() - p.Bits(); room < probeRoom {
			return nil, b.src.Errorf(key, "%s is too narrow for the moves that are prepared at a time, want /%d or wider", p, p.Addr().BitLen()-probeRoom)
		}
		if err := b.claim(key, p.Prefix); err != nil {
			return nil, err
		}
		list = append(list, p.Masked())
	}
	if t.Announced > ProofOff && len(list) == 0 {
		return nil, b.src.Errorf("policy.proofs.announced", "%s needs policy.proofs.probes: a range that nobody has an address of", t.Announced)
	}
	return list, nil
}
