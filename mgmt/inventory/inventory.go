package inventory

import (
	"net/netip"
	"time"

	"github.com/dpmip/dpmip/dnsupdate"
	"github.com/dpmip/dpmip/internal/peerconf"
	"github.com/dpmip/dpmip/internal/strictconf"
	"github.com/dpmip/dpmip/mobility"
)

// Inventory is what the management node goes by. Build it with Load or with
// New; the maps must not be changed afterwards.
type Inventory struct {
	Hypervisors map[string]*Hypervisor
	Routers     map[string]*Router
	Observers   map[string]*Observer
	VMs         map[mobility.VMID]*VM
	Sites       map[string]*Site
	Policy      Policy
	Lifetimes   Lifetimes
	Timers      Timers

	locators map[netip.Addr]string // of hypervisors and routers
	ranges   []homed               // VM ranges, no two overlap
	src      *strictconf.Source
	served   map[mobility.VMID]string // where the services of each VM stand
}

// homed is a VM range and whose it is.
type homed struct {
	prefix netip.Prefix
	home   string
}

// Hypervisor is one server that runs VMs.
type Hypervisor struct {
	Name     string
	Locators []netip.Addr   // IPv6 first; the first is where messages go
	Ranges   []netip.Prefix // VM addresses whose home it is
	Pools    []netip.Prefix // delivery addresses
	Router   string         // its default router, "" = none known
	Site     string         // its data centre, "" = the only one
	Keys     []peerconf.Key
}

// Site is one data centre.
type Site struct {
	Name string
	// NAT are the prefixes that the site's NAT box hides. Its connections live in
	// the box, so a VM with an address of them cannot leave the site.
	NAT []netip.Prefix
}

// Locator is where messages to the hypervisor go.
func (h *Hypervisor) Locator() netip.Addr { return h.Locators[0] }

// Locator4 is its IPv4 locator, or the zero Addr.
func (h *Hypervisor) Locator4() netip.Addr { return first4(h.Locators) }

// Owns reports whether a lies in one of the VM ranges.
func (h *Hypervisor) Owns(a netip.Addr) bool { return within(h.Ranges, a) }

// Pooled reports whether a lies in one of the delivery pools.
func (h *Hypervisor) Pooled(a netip.Addr) bool { return within(h.Pools, a) }

// HasPool reports whether there is a delivery pool of the family.
func (h *Hypervisor) HasPool(is4 bool) bool { return hasFamily(h.Pools, is4) }

// HasRange reports whether there is a VM range of the family.
func (h *Hypervisor) HasRange(is4 bool) bool { return hasFamily(h.Ranges, is4) }

// Router is one router that takes host routes.
type Router struct {
	Name     string
	Role     string // tor, spine or border
	Locators []netip.Addr
	Uplinks  []string // neighbours; a link need be named on one side only
	Keys     []peerconf.Key
}

// Locator is where messages to the router go.
func (r *Router) Locator() netip.Addr { return r.Locators[0] }

// Observer is a router that gets no messages, and that proofs may ask which host
// routes it has: it runs "dpmip-router observe".
type Observer struct{ Name string }

// Known reports whether something is called so that may be asked for proofs.
func (i *Inventory) Known(name string) bool {
	_, peer := i.Locator(name)
	return peer || i.Observers[name] != nil
}

// Observes reports whether the name is that of something with host routes.
func (i *Inventory) Observes(name string) bool {
	return i.Routers[name] != nil || i.Observers[name] != nil
}

// VM is a VM that the operator has named.
type VM struct {
	ID          mobility.VMID
	Hypervisors []string            // where it may register first; empty = anywhere
	Services    *dnsupdate.Services // what the DNS says about it; nil = nothing
	// Standby: others serve under the same shared names. While its hypervisor does
	// not answer, and one of theirs does, its addresses are not published.
	Standby bool
}

// Policy says what is allowed.
type Policy struct {
	// Tickets: a move needs a ticket from PREPARE. Without, a registration from
	// another hypervisor is a plain move.
	Tickets bool
	// AllowUnknownVMs lets hypervisors register VMs that the inventory does not
	// name.
	AllowUnknownVMs bool
	// AdoptHigherEpochs takes the word of a hypervisor that refreshes with an
	// epoch higher than any issued here: for the time after the store was
	// restored from a backup.
	AdoptHigherEpochs bool
	// AcceptUnauthenticated serves peers without keys.
	AcceptUnauthenticated bool
	Defaults              mobility.MoveOptions
	Proofs                Proofs
	Budget                Budget
	Rules                 []MoveRule // empty = every VM may move everywhere
}

// MoveRule allows moves; each list may be empty (= any). VMs are identifiers or
// "*@domain".
type MoveRule struct {
	VMs  []string
	From []string
	To   []string
}

// Lifetimes of what is handed out.
type Lifetimes struct {
	Binding    time.Duration // the longest granted, default 10 m
	Redirect   time.Duration // at anchors, default 10 m
	Route      time.Duration // at routers, default 10 m
	Prepare    time.Duration // from PREPARE to COMMIT, default 60 s
	Grace      time.Duration // after a deregistration, default 10 s
	Quarantine time.Duration // of a released address, default 60 s
	History    time.Duration // how long ended moves are kept, default 720 h
}

// Timers of the conversations; a change needs a restart.
type Timers struct {
	FirstRetry time.Duration // default 20 ms
	Retry      time.Duration // default 20 ms, doubling
	MaxRetry   time.Duration // default 32 s
	Heartbeat  time.Duration // default 1 s
	Misses     int           // default 3
	Window     time.Duration // of timestamps, default 2 s
}

// Peer names the hypervisor or router with the locator; "" = none.
func (i *Inventory) Peer(locator netip.Addr) string { return i.locators[locator.Unmap()] }

// Locator is where messages to the named hypervisor or router go.
func (i *Inventory) Locator(name string) (netip.Addr, bool) {
	if h, ok := i.Hypervisors[name]; ok {
		return h.Locator(), true
	}
	if r, ok := i.Routers[name]; ok {
		return r.Locator(), true
	}
	return netip.Addr{}, false
}

// Home names the hypervisor in whose VM ranges the address lies; "" = none.
func (i *Inventory) Home(a netip.Addr) string {
	for _, r := range i.ranges {
		if r.prefix.Contains(a) {
			return r.home
		}
	}
	return ""
}

func first4(addrs []netip.Addr) netip.Addr {
	for _, a := range addrs {
		if a.Is4() {
			return a
		}
	}
	return netip.Addr{}
}

func within(ps []netip.Prefix, a netip.Addr) bool {
	for _, p := range ps {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func hasFamily(ps []netip.Prefix, is4 bool) bool {
	for _, p := range ps {
		if p.Addr().Is4() == is4 {
			return true
		}
	}
	return false
}
