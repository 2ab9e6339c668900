package mgmt

import (
	"net/netip"
	"slices"
	"time"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
)

// Binding is the record of one VM: who serves it, who served it before, and
// what still has to be told to whom. A record is never changed once it is in
// the cache; it is replaced.
type Binding struct {
	VM         mobility.VMID `json:"vm"`
	MAC        mobility.MAC  `json:"mac"`
	Hypervisor string        `json:"hypervisor,omitempty"` // serving; "" = none: only the epoch is remembered
	Slots      []netip.Addr  `json:"slots,omitempty"`      // current addresses, IPv6 first
	Old        []OldAddress  `json:"old,omitempty"`        // live old addresses that are no slots

	Epoch  mobility.Epoch `json:"epoch"`  // of the binding
	Base   mobility.Epoch `json:"base"`   // at which Hypervisor became the serving one
	Issued mobility.Epoch `json:"issued"` // the highest ever given out or heard of

	Lifetime   mobility.Lifetime `json:"lifetime"`
	Registered time.Time         `json:"registered"`
	Expires    time.Time         `json:"expires"`
	// Grace is set between a deregistration and the moment it takes effect.
	Grace time.Time `json:"grace,omitzero"`
	// Gone is set when nobody serves the VM.
	Gone time.Time `json:"gone,omitzero"`

	Options    mobility.MoveOptions `json:"options,omitzero"`     // of the last committed move
	Deliveries []mobility.Delivery  `json:"deliveries,omitempty"` // reserved at Hypervisor
	Anchors    []Anchor             `json:"anchors,omitempty"`
	Routes     []Route              `json:"routes,omitempty"`
	Rehearsal  []Route              `json:"rehearsal,omitempty"` // of probe addresses, before a switch
	Yields     []Yield              `json:"yields,omitempty"`    // addresses that have given way, see yield.go
	Quarantine []Quarantined        `json:"quarantine,omitempty"`
	// Leaving are the host routes of a VM that is gone, to be seen to go; LeaveBy is
	// when the alarm is raised, zero before they are asked for.
	Leaving []Proof   `json:"leaving,omitempty"`
	LeaveBy time.Time `json:"leave_by,omitzero"`

	Open   mobility.Epoch       `json:"open,omitempty"` // the move before its COMMIT, 0 = none
	Last   mobility.Epoch       `json:"last,omitempty"` // the committed move that is not done, 0 = none
	Orders []registration.Order `json:"orders,omitempty"`
}

// OldState is how far an old address has drained.
type OldState uint8

// States of an old address. The zero value is invalid.
const (
	OldLive      OldState = iota + 1 // redirected
	OldUnrouted                      // drained; host routes are being withdrawn
	OldReleasing                     // the serving hypervisor is to give it up
)

func (s OldState) String() string {
	return [...]string{"invalid", "live", "unrouted", "releasing"}[min(s, OldReleasing)]
}

// OldAddress is an address the VM had before a renumbering move.
type OldAddress struct {
	Addr  netip.Addr `json:"addr"`
	State OldState   `json:"state"`
	// Quiet: the serving hypervisor found it quiet, after every anchor had.
	Quiet bool `json:"quiet,omitempty"`
}

// Anchor is a hypervisor that served the VM before and redirects for it.
type Anchor struct {
	Hypervisor string         `json:"hypervisor"`
	Epoch      mobility.Epoch `json:"epoch"` // that it is to have
	Confirmed  bool           `json:"confirmed"`
	Cold       bool           `json:"cold,omitempty"` // remove everything, no redirect
	Addrs      []netip.Addr   `json:"addrs,omitempty"`
	// Draining are addresses that it may stop to redirect, and perhaps has not
	// yet: its next confirmation tells.
	Draining []netip.Addr `json:"draining,omitempty"`
}

// Route is one address's host route at one router.
type Route struct {
	Router    string         `json:"router"`
	Addr      netip.Addr     `json:"addr"`
	Epoch     mobility.Epoch `json:"epoch"`
	Confirmed bool           `json:"confirmed"`
	Withdraw  bool           `json:"withdraw,omitempty"`
}

// Quarantined is an address nobody may use yet.
type Quarantined struct {
	Addr  netip.Addr `json:"addr"`
	Until time.Time  `json:"until"`
}

// clone copies the record deeply enough to be changed.
func (b *Binding) clone() *Binding {
	c := *b
	c.Slots = slices.Clone(b.Slots)
	c.Old = slices.Clone(b.Old)
	c.Deliveries = slices.Clone(b.Deliveries)
	c.Anchors = slices.Clone(b.Anchors)
	for i := range c.Anchors {
		c.Anchors[i].Addrs = slices.Clone(c.Anchors[i].Addrs)
		c.Anchors[i].Draining = slices.Clone(c.Anchors[i].Draining)
	}
	c.Routes = slices.Clone(b.Routes)
	c.Rehearsal = slices.Clone(b.Rehearsal)
	c.Yields = slices.Clone(b.Yields)
	c.Leaving = slices.Clone(b.Leaving)
	c.Quarantine = slices.Clone(b.Quarantine)
	c.Orders = slices.Clone(b.Orders)
	return &c
}

// live lists every live old address as seen by the next move: the current slots
// first in each family, in slot order, then the older ones.
func (b *Binding) live() (addrs []netip.Addr, current mobility.SlotCount) {
	s6, s4 := mobility.SplitFamilies(b.Slots)
	var olds []netip.Addr
	for _, o := range b.Old {
		if o.State != OldReleasing {
			olds = append(olds, o.Addr)
		}
	}
	o6, o4 := mobility.SplitFamilies(olds)
	return slices.Concat(s6, o6, s4, o4), mobility.SlotCount{V6: uint8(len(s6)), V4: uint8(len(s4))}
}

// releasing reports whether an old address waits to be given up: until then the
// serving hypervisor knows an address more than the next move would list.
func (b *Binding) releasing() bool {
	return slices.ContainsFunc(b.Old, func(o OldAddress) bool { return o.State == OldReleasing })
}

// has reports whether the address is one of the VM's: a slot or an old one.
func (b *Binding) has(a netip.Addr) bool {
	return slices.Contains(b.Slots, a) || b.old(a) != nil
}

func (b *Binding) old(a netip.Addr) *OldAddress {
	for i := range b.Old {
		if b.Old[i].Addr == a {
			return &b.Old[i]
		}
	}
	return nil
}

func (b *Binding) anchor(hypervisor string) *Anchor {
	for i := range b.Anchors {
		if b.Anchors[i].Hypervisor == hypervisor {
			return &b.Anchors[i]
		}
	}
	return nil
}

func (b *Binding) delivery(old netip.Addr) (netip.Addr, bool) {
	for _, d := range b.Deliveries {
		if d.Old == old {
			return d.D, true
		}
	}
	return netip.Addr{}, false
}

// pairs are the addresses as pairs for an anchor: to their delivery addresses,
// or unmodified where there is none.
func (b *Binding) pairs(addrs []netip.Addr) []mobility.Pair {
	list := make([]mobility.Pair, 0, len(addrs))
	for _, a := range addrs {
		to, ok := b.delivery(a)
		if !ok {
			to = a
		}
		list = append(list, mobility.Pair{Old: a, New: to})
	}
	return list
}

// maxOrders bounds how many senders' ordering state a record keeps.
const maxOrders = 32

// order notes the ordering state that an acceptance must leave behind.
func (b *Binding) order(o registration.Order) {
	b.Orders = slices.DeleteFunc(b.Orders, func(p registration.Order) bool { return p.Sender == o.Sender })
	b.Orders = append(b.Orders, o)
	if len(b.Orders) > maxOrders {
		b.Orders = b.Orders[len(b.Orders)-maxOrders:]
	}
}

// jump makes sure that no epoch up to e is given out again.
func (b *Binding) jump(e mobility.Epoch) { b.Issued = max(b.Issued, e) }

// unmodified are the addresses as pairs (a, a).
func unmodified(addrs []netip.Addr) []mobility.Pair {
	list := make([]mobility.Pair, 0, len(addrs))
	for _, a := range addrs {
		list = append(list, mobility.Pair{Old: a, New: a})
	}
	return list
}

// sorted puts IPv6 first and keeps the order within a family.
func sorted(addrs []netip.Addr) []netip.Addr {
	v6, v4 := mobility.SplitFamilies(addrs)
	return append(v6, v4...)
}

func sameSet(a, b []netip.Addr) bool {
	if len(a) != len(b) {
		return false
	}
	for _, x := range a {
		if !slices.Contains(b, x) {
			return false
		}
	}
	return true
}
