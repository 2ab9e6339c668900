package agent

import (
	"net/netip"
	"slices"
	"time"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
	"github.com/dpmip/dpmip/offload"
)

// Record is everything about one VM that outlives the process. A hypervisor
// may be anchor and destination of a VM at once (Leaving and Incoming), or
// serve it and be the source of a prepared move (Serving and Leaving).
type Record struct {
	VM  mobility.VMID `json:"vm"`
	MAC mobility.MAC  `json:"mac"`
	// Epoch is that of the binding, as far as known here.
	Epoch mobility.Epoch `json:"epoch"`
	// Known is the highest epoch ever heard of; refusals carry it.
	Known    mobility.Epoch       `json:"known,omitempty"`
	Orders   []registration.Order `json:"orders,omitempty"`
	Serving  *Serving             `json:"serving,omitempty"`  // the VM is attached here
	Incoming *Incoming            `json:"incoming,omitempty"` // a prepared arrival
	Leaving  *Leaving             `json:"leaving,omitempty"`  // a redirect, prepared or committed
	Spent    []Spent              `json:"spent,omitempty"`    // delivery addresses that are not free yet
}

// Group is what delivers to a VM under one stamp.
type Group struct {
	Epoch mobility.Epoch `json:"group_epoch"` // of the stamp; 0 = nothing is installed yet
	Port  string         `json:"port"`
	Slots []netip.Addr   `json:"slots"`          // current addresses, IPv6 first
	Olds  []netip.Addr   `json:"olds,omitempty"` // live old addresses that are no slots
	// Deliveries: one for each old address that others may send here.
	Deliveries []mobility.Delivery `json:"deliveries,omitempty"`
	Hold       bool                `json:"hold,omitempty"` // as installed
	// Guarded: the policy for new connections to the old addresses is not
	// redirect. Only those who redirect know which connections are old: an old
	// address that is not at home here is not delivered past them.
	Guarded bool `json:"guarded,omitempty"`
}

// Serving is a VM that runs here, or is attached and being registered.
type Serving struct {
	Group
	Registered bool              `json:"registered"` // the management node has accepted it
	Plain      bool              `json:"plain,omitempty"`
	Lifetime   mobility.Lifetime `json:"lifetime,omitempty"`
	Expires    time.Time         `json:"expires,omitzero"`
	Commit     *Commit           `json:"commit,omitempty"` // owed
	Detaching  bool              `json:"detaching,omitempty"`
}

// Commit is what the COMMIT of an activated move must say.
type Commit struct {
	Epoch  mobility.Epoch       `json:"epoch"`
	Ticket mobility.Ticket      `json:"ticket,omitzero"`
	Move   mobility.MoveOptions `json:"move,omitzero"` // without its phase
}

// Incoming is a reservation for a VM that is about to arrive.
type Incoming struct {
	Group
	Ticket mobility.Ticket      `json:"ticket,omitzero"`
	Move   mobility.MoveOptions `json:"move,omitzero"` // without its phase
	// Frozen: aborted, first step. It still holds and cannot be activated.
	Frozen bool `json:"frozen,omitempty"`
	// Ready: the device has confirmed every rule.
	Ready bool `json:"ready,omitempty"`
}

// Leaving redirects a VM's old addresses.
type Leaving struct {
	Stamp    mobility.Epoch       `json:"stamp"` // of the group; an armed one is changed in place
	Epoch    mobility.Epoch       `json:"epoch"` // of the move that the pairs come from
	Pairs    []mobility.Pair      `json:"pairs"`
	Locator  netip.Addr           `json:"locator"`
	Locator4 netip.Addr           `json:"locator4,omitzero"`
	Move     mobility.MoveOptions `json:"move,omitzero"`       // without its phase
	Ready    bool                 `json:"ready,omitempty"`     // confirmed by the device
	Armed    bool                 `json:"armed,omitempty"`     // the VM was released
	Done     bool                 `json:"committed,omitempty"` // the VM has left for good
	Expires  time.Time            `json:"expires,omitzero"`
}

// SpentState says what still happens to a delivery address that is no longer
// in use.
type SpentState uint8

// States. The zero value is invalid.
const (
	SpentRestoring  SpentState = iota + 1 // turned into the old address and decided again
	SpentReturning                        // given back: restored, into the fabric
	SpentQuarantine                       // nothing is installed; not given out before Until, if that is known
)

// Spent is a delivery address that is not free yet.
type Spent struct {
	mobility.Delivery
	State SpentState     `json:"state"`
	Epoch mobility.Epoch `json:"epoch"` // of the group it was installed in
	Port  string         `json:"port"`
	Hold  bool           `json:"hold,omitempty"`
	Until time.Time      `json:"until,omitzero"` // zero: no end is known yet
}

// Clone gives a copy that shares nothing that is ever changed in place:
// slices are replaced here, never written to.
func (r *Record) Clone() Record {
	c := *r
	if r.Serving != nil {
		s := *r.Serving
		c.Serving = &s
	}
	if r.Incoming != nil {
		i := *r.Incoming
		c.Incoming = &i
	}
	if r.Leaving != nil {
		l := *r.Leaving
		c.Leaving = &l
	}
	c.Spent = slices.Clone(r.Spent)
	c.Orders = slices.Clone(r.Orders)
	return c
}

// Empty reports whether nothing is left that the record is needed for.
func (r *Record) Empty() bool {
	return r.Serving == nil && r.Incoming == nil && r.Leaving == nil && len(r.Spent) == 0
}

// Binding gives what the record means for a device.
func (r *Record) Binding(pathMTU uint16) offload.Binding {
	b := offload.Binding{VM: r.VM}
	if r.Serving != nil && r.Serving.Epoch != 0 {
		b.Deliver = r.Serving.deliver(r.MAC)
	}
	if r.Incoming != nil {
		b.Deliver = r.Incoming.deliver(r.MAC)
	}
	if l := r.Leaving; l != nil {
		b.Redirect = &offload.RedirectGroup{
			Epoch: l.Stamp, Pairs: l.Pairs, Locator: l.Locator, Locator4: l.Locator4, New: l.Move.New, PathMTU: pathMTU,
		}
	}
	for _, s := range r.Spent {
		if s.State != SpentQuarantine {
			b.Restores = append(b.Restores, offload.Restore{Epoch: s.Epoch, Delivery: s.Delivery, Port: s.Port, MAC: r.MAC, Hold: s.Hold})
		}
	}
	return b
}

func (g *Group) deliver(mac mobility.MAC) *offload.DeliverGroup {
	return &offload.DeliverGroup{Epoch: g.Epoch, Port: g.Port, MAC: mac, Addresses: g.Live(), Deliveries: g.Deliveries, Hold: g.Hold}
}

// group is what Binding delivers by; nil = nothing.
func (r *Record) group() *Group {
	switch {
	case r.Incoming != nil:
		return &r.Incoming.Group
	case r.Serving != nil:
		return &r.Serving.Group
	}
	return nil
}

// Live gives every address of the VM that the group delivers: the slots, then
// the old ones.
func (g *Group) Live() []netip.Addr { return append(slices.Clone(g.Slots), g.Olds...) }

// spend turns the group's delivery addresses into spent ones.
func (g *Group) spend(state SpentState, until time.Time) []Spent {
	var out []Spent
	for _, d := range g.Deliveries {
		out = append(out, Spent{Delivery: d, State: state, Epoch: g.Epoch, Port: g.Port, Hold: g.Hold, Until: until})
	}
	return out
}

// hasPair reports whether the redirect covers an old address.
func (l *Leaving) hasPair(old netip.Addr) bool {
	return slices.ContainsFunc(l.Pairs, func(p mobility.Pair) bool { return p.Old == old })
}

// olds gives the addresses that the redirect covers.
func (l *Leaving) olds() []netip.Addr {
	out := make([]netip.Addr, len(l.Pairs))
	for i, p := range l.Pairs {
		out[i] = p.Old
	}
	return out
}

// setOrder notes the last accepted Request of one sender.
func (r *Record) setOrder(o registration.Order) {
	if !o.Sender.IsValid() {
		return
	}
	for i := range r.Orders {
		if r.Orders[i].Sender == o.Sender {
			r.Orders[i] = o
			return
		}
	}
	r.Orders = append(r.Orders, o)
}
