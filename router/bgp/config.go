package bgp

import (
	"fmt"
	"net/netip"
	"time"
)

// Scope says which host routes a peer is told of.
type Scope uint8

// The scopes.
const (
	ScopeInvalid Scope = iota
	ScopeNone          // nothing
	ScopeArrived       // VMs that this site serves
	ScopeAll           // and those that it knows to be served elsewhere
)

func (s Scope) String() string {
	switch s {
	case ScopeNone:
		return "none"
	case ScopeArrived:
		return "arrived"
	case ScopeAll:
		return "all"
	}
	return fmt.Sprintf("scope(%d)", uint8(s))
}

// ParseScope reads a scope's word.
func ParseScope(s string) (Scope, error) {
	for c := ScopeNone; c <= ScopeAll; c++ {
		if c.String() == s {
			return c, nil
		}
	}
	return ScopeInvalid, fmt.Errorf("%q: want none, arrived or all", s)
}

// Site is a data centre of the operator.
type Site struct {
	Name     string
	Locators []netip.Prefix // of its hypervisors
	// NextHops are what its host routes point to, at most one a family. A family
	// without one: of the own site, the session's own address; of another, its
	// routes of that family are not announced.
	NextHops []netip.Addr
}

func (s *Site) nextHop(like netip.Addr) (netip.Addr, bool) {
	for _, a := range s.NextHops {
		if a.Is4() == like.Is4() {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// Peer is one configured neighbour. Its session carries the family of its
// address.
type Peer struct {
	Name     string
	Address  netip.Addr
	ASN      uint32
	Local    netip.Addr // invalid: the kernel's choice
	Port     uint16     // 0: 179
	Passive  bool       // it connects, we wait
	Hops     uint8      // TTL of a session over several hops; 0: directly connected
	Password string     // MD5 (RFC 2385); empty: none

	Announce Scope
	NoExport bool // its routes get NO_EXPORT
	Accept   bool // its routes are looked at; otherwise all are refused
	// MaxPrefixes ends the session when the peer sends more; 0: no limit.
	MaxPrefixes uint32

	HoldTime     time.Duration // 0: 90 s; whole seconds
	ConnectRetry time.Duration // 0: 5 s; whole seconds
}

// Config is a border router.
type Config struct {
	ASN      uint32
	RouterID netip.Addr   // IPv4
	Listen   []netip.Addr // empty: only we connect
	Port     uint16       // 0: 179

	Own   Site
	Sites []Site // the operator's others
	// Put is put on every route announced; Want is what a route must have one of
	// to be accepted.
	Put, Want Tags
	// Ranges hold the VMs' addresses: nothing outside is announced or accepted.
	Ranges []netip.Prefix
	// MaxImports bounds the routes accepted, of all peers together; 0: 65536.
	MaxImports int
	// GracefulRestart keeps routes over a restart of either side (RFC 4724),
	// for at most RestartTime (0: 120 s; whole seconds).
	GracefulRestart bool
	RestartTime     time.Duration
	Peers           []Peer
}

// reserved is the second number of the large communities that say inside this
// process which peers a route is for; they never leave it.
const reserved = 0xffffffff

// Check tells what is wrong with a Config, naming the field.
func (c *Config) Check() error {
	if c.ASN == 0 {
		return fmt.Errorf("asn: is missing")
	}
	if !c.RouterID.Is4() {
		return fmt.Errorf("router_id: want an IPv4 address")
	}
	if len(c.Ranges) == 0 {
		return fmt.Errorf("ranges: is empty: nothing would be announced or accepted")
	}
	if len(c.Own.Locators) == 0 {
		return fmt.Errorf("locators: is empty: want the prefixes of this site's hypervisors")
	}
	for _, l := range append(c.Put.Large, c.Want.Large...) {
		if l.Local1 == reserved {
			return fmt.Errorf("large_communities: %s: %d is used inside", l, uint32(reserved))
		}
	}
	sites := append([]Site{c.Own}, c.Sites...)
	for i, s := range sites {
		if err := s.check(); err != nil {
			return fmt.Errorf("site %q: %w", s.Name, err)
		}
		for _, o := range sites[:i] {
			if a, b, ok := overlap(s.Locators, o.Locators); ok {
				return fmt.Errorf("site %q: locators: %s overlaps %s of site %q", s.Name, a, b, o.Name)
			}
		}
	}
	return c.checkPeers()
}

func (s *Site) check() error {
	for i, a := range s.NextHops {
		if a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() {
			return fmt.Errorf("next_hops: %s cannot be one", a)
		}
		if first, _ := s.nextHop(a); first != s.NextHops[i] {
			return fmt.Errorf("next_hops: %s and %s are of one family", first, a)
		}
	}
	return nil
}

func overlap(a, b []netip.Prefix) (x, y netip.Prefix, found bool) {
	for _, x := range a {
		for _, y := range b {
			if x.Overlaps(y) {
				return x, y, true
			}
		}
	}
	return netip.Prefix{}, netip.Prefix{}, false
}

func (c *Config) checkPeers() error {
	names, addrs := map[string]bool{}, map[netip.Addr]bool{}
	for _, p := range c.Peers {
		switch {
		case p.Name == "":
			return fmt.Errorf("peer %s: name: is missing", p.Address)
		case names[p.Name]:
			return fmt.Errorf("peer %q: name: is used twice", p.Name)
		case !p.Address.IsValid():
			return fmt.Errorf("peer %q: address: is missing", p.Name)
		case addrs[p.Address]:
			return fmt.Errorf("peer %q: address: %s is used twice", p.Name, p.Address)
		case p.ASN == 0:
			return fmt.Errorf("peer %q: asn: is missing", p.Name)
		case p.Announce == ScopeInvalid:
			return fmt.Errorf("peer %q: announce: is missing", p.Name)
		case p.Accept && c.Want.Empty():
			return fmt.Errorf("peer %q: accept: no community says which routes are the operator's", p.Name)
		case p.Local.IsValid() && p.Local.Is4() != p.Address.Is4():
			return fmt.Errorf("peer %q: local: %s is not of the family of %s", p.Name, p.Local, p.Address)
		case len(p.Password) > 80:
			return fmt.Errorf("peer %q: password: longer than 80 bytes, which the kernel does not take", p.Name)
		case p.Passive && len(c.Listen) == 0:
			return fmt.Errorf("peer %q: passive: nobody would connect: listen is empty", p.Name)
		}
		names[p.Name], addrs[p.Address] = true, true
	}
	return nil
}

// peer finds a peer by its address; nil: not configured.
func (c *Config) peer(a netip.Addr) *Peer {
	for i := range c.Peers {
		if c.Peers[i].Address == a {
			return &c.Peers[i]
		}
	}
	return nil
}

func within(ranges []netip.Prefix, a netip.Addr) bool {
	for _, p := range ranges {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
