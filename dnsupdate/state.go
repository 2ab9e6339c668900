package dnsupdate

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/dpmip/dpmip/internal/strictconf"
	"github.com/dpmip/dpmip/mobility"
)

// State is all that the DNS should hold for one VM. It is a value: the methods
// return the next State and never change their receiver's slices.
type State struct {
	VM       mobility.VMID `json:"vm"`
	Services Services      `json:"services"`
	Version  Version       `json:"version"`
	// Published are the addresses that names resolve to. In a hot standby they
	// are those of both places.
	Published []netip.Addr `json:"published"`
	// Withdrawn are addresses that were published and may still be in the DNS:
	// every live old address. They are removed, and their reverse names keep a
	// tombstone until they are forgotten.
	Withdrawn []netip.Addr `json:"withdrawn,omitempty"`
	// Forgotten are old addresses whose tombstones are removed: after the
	// quarantine, when no earlier host can be late any more.
	Forgotten []netip.Addr `json:"forgotten,omitempty"`
	// TTL overrides that of A and AAAA records, while a move is under way; 0
	// means that of the service list.
	TTL strictconf.Duration `json:"ttl,omitempty"`
	// Final ends the VM's presence: together with no published address it
	// removes the epoch records of its names as well.
	Final bool `json:"final,omitempty"`
}

// Moved is the State after COMMIT of a move with the given epoch: published
// replaces what was published, which counts as withdrawn from now on.
func (s State) Moved(epoch mobility.Epoch, published ...netip.Addr) State {
	return s.publish(Version{Epoch: epoch, Step: 1}, published)
}

// LowerTTL is the State at PREPARE: the same addresses, with a TTL of whole
// seconds that lets resolvers forget them soon.
func (s State) LowerTTL(ttl time.Duration) State {
	n := s.next()
	n.TTL = strictconf.Duration(ttl)
	return n
}

// RestoreTTL is the State after DRAIN, or after ABORT: the list's own TTLs.
func (s State) RestoreTTL() State {
	n := s.next()
	n.TTL = 0
	return n
}

// Withdraw is the State in which the addresses are published no more, the rest
// as before: one place of a hot standby has failed.
func (s State) Withdraw(addrs ...netip.Addr) State {
	keep := slices.DeleteFunc(slices.Clone(s.Published), func(a netip.Addr) bool { return slices.Contains(addrs, a) })
	return s.publish(s.next().Version, keep)
}

// Forget is the State that no longer remembers old addresses: those among
// Withdrawn lose their tombstones, earlier forgotten ones leave the value.
func (s State) Forget(addrs ...netip.Addr) State {
	n := s.next()
	n.Withdrawn, n.Forgotten = nil, nil
	for _, a := range s.Withdrawn {
		if slices.Contains(addrs, a) {
			n.Forgotten = append(n.Forgotten, a)
		} else {
			n.Withdrawn = append(n.Withdrawn, a)
		}
	}
	return n
}

// Removed is the State of a VM that is gone for good.
func (s State) Removed() State {
	n := s.publish(s.next().Version, nil)
	n.Forgotten, n.Withdrawn, n.Final = append(n.Forgotten, n.Withdrawn...), nil, true
	return n
}

func (s State) publish(v Version, published []netip.Addr) State {
	n := s
	n.Version = v
	n.Published = slices.Clone(published)
	n.Withdrawn = nil
	for _, a := range slices.Concat(s.Withdrawn, s.Published) {
		if !slices.Contains(published, a) && !slices.Contains(n.Withdrawn, a) {
			n.Withdrawn = append(n.Withdrawn, a)
		}
	}
	n.Forgotten = slices.DeleteFunc(slices.Clone(s.Forgotten), func(a netip.Addr) bool { return slices.Contains(published, a) })
	return n
}

func (s State) next() State {
	s.Version.Step++
	return s
}

// Validate reports what makes the state unpublishable: no VM, no epoch, a bad
// list, an address twice or of no use as one.
func (s State) Validate() error {
	if err := s.VM.Validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrServices, err)
	}
	if s.Version.Epoch == 0 {
		return fmt.Errorf("%w: %s has no epoch", ErrServices, s.VM)
	}
	if s.Final && len(s.Published) != 0 {
		return fmt.Errorf("%w: %s is final and still published", ErrServices, s.VM)
	}
	var seen []netip.Addr
	for _, a := range slices.Concat(s.Published, s.Withdrawn, s.Forgotten) {
		if !a.IsValid() || a.Zone() != "" || a.Is4In6() || a.IsUnspecified() || a.IsMulticast() {
			return fmt.Errorf("%w: %s: %v is no address for the DNS", ErrServices, s.VM, a)
		}
		if slices.Contains(seen, a) {
			return fmt.Errorf("%w: %s: address %v appears twice", ErrServices, s.VM, a)
		}
		seen = append(seen, a)
	}
	if err := checkTTL("ttl", s.TTL); err != nil {
		return err
	}
	return s.Services.Validate()
}
