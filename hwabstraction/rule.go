package hwabstraction

import (
	"encoding/hex"
	"fmt"
	"net/netip"
)

// Stamp says who owns an artefact and from which epoch it is. Every rule
// carries one. Owner is a hash of the VM (the caller's business); Epoch only
// ever grows for one owner. A backend removes only what the same owner holds
// at or below the given epoch.
type Stamp struct {
	Owner [16]byte
	Epoch uint32
}

func (s Stamp) String() string { return fmt.Sprintf("%s/%d", hex.EncodeToString(s.Owner[:4]), s.Epoch) }

// Kind tells the kinds of rules apart.
type Kind uint8

// Rule kinds. The zero Kind is invalid.
const (
	KindInvalid Kind = iota
	KindHostRoute
	KindRedirect
	KindDeliver
	KindEgress
	KindTrap
	KindUnreachable
)

var kindNames = [...]string{"invalid", "host-route", "redirect", "deliver", "egress", "trap", "unreachable"}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// RuleID names a rule: at most one rule of a kind exists for an address (and
// port, protocol where the kind has them). Putting a rule whose ID exists
// replaces it if the new stamp's epoch is not lower (else ErrStale).
type RuleID struct {
	Kind     Kind
	Prefix   netip.Prefix // the matched address as a /32 or /128, or the prefix of an Unreachable
	Port     string       // Egress: the VM port
	Protocol uint8        // Trap
	DstPort  uint16       // Trap
}

func (id RuleID) String() string {
	s := id.Kind.String() + " " + id.Prefix.String()
	if id.Port != "" {
		s += " on " + id.Port
	}
	return s
}

// Rule is one of HostRoute, Redirect, Deliver, Egress, Trap, Unreachable: all
// comparable values, so that == tells whether anything is to be done.
type Rule interface {
	ID() RuleID
	Stamped() Stamp
	// Validate reports a rule that no backend could program: mixed families,
	// a missing port, a zero address. Wrapped ErrInvalidRule.
	Validate() error
}

// HostRoute sends one address to a VM port or towards a locator, by a route of
// the kernel. Exactly one of Port and Locator is set. With Locator the backend
// resolves the next hop in its FIB and follows it when it changes.
type HostRoute struct {
	Stamp   Stamp
	Address netip.Addr
	Port    string
	Locator netip.Addr // of Address's family, or IPv6 for either
	Metric  uint32     // 0 = the backend's default
}

// NewFlows is the policy for flows that did not exist before the redirect was
// armed.
type NewFlows uint8

// Policies. NewRedirect is the zero value: redirect everything.
const (
	NewRedirect NewFlows = iota
	NewDrop              // no answer
	NewReject            // TCP reset, ICMP administratively prohibited
)

func (n NewFlows) String() string { return [...]string{"redirect", "drop", "reject"}[n] }

// Redirect sends packets for Address towards another hypervisor: rewritten to
// To where To differs from Address, else unmodified towards Locator. It acts
// only while its group is armed. Packets larger than PathMTU (0: the MTU of
// the route) are answered with Packet Too Big / Fragmentation Needed quoting
// Address, without the agent. Hop limit is decremented. Later fragments go where
// the first one went, also when that was to the VM before the group was armed.
type Redirect struct {
	Stamp   Stamp
	Address netip.Addr
	To      netip.Addr
	Locator netip.Addr
	New     NewFlows
	PathMTU uint16
}

// Deliver brings packets for Address to the VM on Port. Where Restore is
// another address than Address (Address is then a delivery address), it is
// written into the packet first. Until its group is activated the rule either
// lets packets go where they went before (Hold false), or keeps them, in order
// and bounded (Hold true); held packets reach the VM on Activate.
type Deliver struct {
	Stamp   Stamp
	Address netip.Addr
	Restore netip.Addr // equal to Address where nothing is rewritten
	Port    string
	MAC     [6]byte // the VM's; the neighbour entry is made permanent from it
	Hold    bool
}

// Egress lets the VM on Port send from Source, and from nothing that no Egress
// names (neighbour discovery, MLD, DHCP from link-local, ::, 0.0.0.0 excepted;
// ARP sender and ND target are checked). The first Egress of a port opens it:
// programs attached, the gateways 169.254.1.1 and fe80::1 answering with the
// fixed gateway MAC; removing the last closes it.
type Egress struct {
	Stamp  Stamp
	Port   string
	Source netip.Addr
	MAC    [6]byte
}

// Trap copies packets for Address, Protocol and DstPort to the agent
// (Device.Trapped) at no more than Rate packets a second, instead of forwarding
// them. Of several Traps that match, the narrowest takes the packet.
type Trap struct {
	Stamp    Stamp
	Address  netip.Addr
	Protocol uint8  // IP protocol number; 0 = any
	DstPort  uint16 // of TCP or UDP, where the packet has it; 0 = any
	Rate     uint32 // packets per second, at least 1
}

// Unreachable ends packets for Prefix that nothing more specific claims: own
// VM and delivery prefixes, so that an ended redirect cannot loop.
type Unreachable struct {
	Stamp  Stamp
	Prefix netip.Prefix
}

func host(a netip.Addr) netip.Prefix {
	if !a.IsValid() {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(a, a.BitLen())
}

// RuleID of a rule by kind and address, as ID() of the rule itself gives it.
func HostRouteID(a netip.Addr) RuleID { return RuleID{Kind: KindHostRoute, Prefix: host(a)} }

// RedirectID names the Redirect of an address.
func RedirectID(a netip.Addr) RuleID { return RuleID{Kind: KindRedirect, Prefix: host(a)} }

// DeliverID names the Deliver of an address.
func DeliverID(a netip.Addr) RuleID { return RuleID{Kind: KindDeliver, Prefix: host(a)} }

// EgressID names the Egress of a port and source address.
func EgressID(port string, a netip.Addr) RuleID {
	return RuleID{Kind: KindEgress, Prefix: host(a), Port: port}
}

func (r HostRoute) ID() RuleID { return HostRouteID(r.Address) }
func (r Redirect) ID() RuleID  { return RedirectID(r.Address) }
func (r Deliver) ID() RuleID   { return DeliverID(r.Address) }
func (r Egress) ID() RuleID    { return EgressID(r.Port, r.Source) }
func (r Trap) ID() RuleID {
	return RuleID{Kind: KindTrap, Prefix: host(r.Address), Protocol: r.Protocol, DstPort: r.DstPort}
}
func (r Unreachable) ID() RuleID { return RuleID{Kind: KindUnreachable, Prefix: r.Prefix.Masked()} }

func (r HostRoute) Stamped() Stamp   { return r.Stamp }
func (r Redirect) Stamped() Stamp    { return r.Stamp }
func (r Deliver) Stamped() Stamp     { return r.Stamp }
func (r Egress) Stamped() Stamp      { return r.Stamp }
func (r Trap) Stamped() Stamp        { return r.Stamp }
func (r Unreachable) Stamped() Stamp { return r.Stamp }

func invalid(r Rule, why string) error { return fmt.Errorf("%w: %s: %s", ErrInvalidRule, r.ID(), why) }

func plain(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.Is4In6() && a.Zone() == "" && !a.IsMulticast()
}

// Validate reports a HostRoute that cannot be programmed.
func (r HostRoute) Validate() error {
	switch {
	case !plain(r.Address):
		return invalid(r, "not a unicast address")
	case (r.Port == "") == !r.Locator.IsValid():
		return invalid(r, "want exactly one of port and locator")
	}
	return nil
}

// Validate reports a Redirect that cannot be programmed.
func (r Redirect) Validate() error {
	switch {
	case !plain(r.Address), !plain(r.To):
		return invalid(r, "not a unicast address")
	case r.Address.Is4() != r.To.Is4():
		return invalid(r, "rewrites to another family")
	case r.Address == r.To && !r.Locator.IsValid():
		return invalid(r, "unmodified and without a locator")
	case r.New > NewReject:
		return invalid(r, "unknown policy")
	}
	return nil
}

// Validate reports a Deliver that cannot be programmed.
func (r Deliver) Validate() error {
	switch {
	case !plain(r.Address), !plain(r.Restore):
		return invalid(r, "not a unicast address")
	case r.Address.Is4() != r.Restore.Is4():
		return invalid(r, "restores another family")
	case r.Port == "":
		return invalid(r, "no port")
	}
	return nil
}

// Validate reports an Egress that cannot be programmed.
func (r Egress) Validate() error {
	switch {
	case !plain(r.Source):
		return invalid(r, "not a unicast address")
	case r.Port == "":
		return invalid(r, "no port")
	}
	return nil
}

// Validate reports a Trap that cannot be programmed.
func (r Trap) Validate() error {
	switch {
	case !plain(r.Address):
		return invalid(r, "not a unicast address")
	case r.Rate == 0:
		return invalid(r, "no rate")
	case r.DstPort != 0 && r.Protocol != 6 && r.Protocol != 17:
		return invalid(r, "a port of a protocol that has none")
	}
	return nil
}

// Validate reports an Unreachable that cannot be programmed.
func (r Unreachable) Validate() error {
	if !r.Prefix.IsValid() || r.Prefix.Bits() == 0 {
		return invalid(r, "not a prefix")
	}
	return nil
}
