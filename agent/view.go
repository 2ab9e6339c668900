package agent

import (
	"net/netip"
	"time"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/offload"
)

// View is one VM as it is shown to people.
type View struct {
	VM         mobility.VMID
	Role       string // serving, attaching, preparing, source, anchor, gone
	Port       string
	MAC        mobility.MAC
	Epoch      mobility.Epoch
	Addresses  []netip.Addr
	Olds       []netip.Addr
	Deliveries []mobility.Delivery
	Redirects  []mobility.Pair
	Locator    netip.Addr // where the redirects lead
	Expires    time.Time
	Registered bool
	CommitOwed bool
	Armed      bool
	Active     bool
	Problem    string
	Quarantine int // delivery addresses that are not free yet

	group mobility.Epoch
}

// Group is the stamp of what delivers to the VM, or of its redirect.
func (v *View) Group() hwabstraction.Stamp { return offload.Stamp(v.VM, v.group) }

// Contact is how the management nodes are reached.
type Contact struct {
	Using  netip.Addr   // Requests go there
	Silent []netip.Addr // do not answer heartbeats
	Offset time.Duration
}

// Contact changes nothing.
func (c *Core) Contact() Contact {
	out := Contact{Using: c.management(), Offset: c.node.Offset()}
	for _, m := range c.cfg.Registration.Management {
		if c.silent[m] {
			out.Silent = append(out.Silent, m)
		}
	}
	return out
}

// List gives all VMs, in the order of their identifiers. It changes nothing.
func (c *Core) List() []View {
	vms := c.sorted()
	out := make([]View, len(vms))
	for i, v := range vms {
		out[i] = c.view(v)
	}
	return out
}

func (c *Core) view(v *vm) View {
	w := View{VM: v.VM, MAC: v.MAC, Epoch: v.Epoch, Problem: v.problem, Role: v.role(), Quarantine: len(v.Spent)}
	group := func(g *Group) {
		w.group = g.Epoch
		w.Port, w.Addresses, w.Olds, w.Deliveries = g.Port, g.Slots, g.Olds, g.Deliveries
	}
	if in := v.Incoming; in != nil {
		group(&in.Group)
	}
	if s := v.Serving; s != nil {
		group(&s.Group)
		w.Registered, w.CommitOwed, w.Expires, w.Active = s.Registered && !s.Detaching, s.Commit != nil, s.Expires, s.Epoch != 0
	}
	if l := v.Leaving; l != nil {
		w.Redirects, w.Locator, w.Armed = l.Pairs, l.Locator, l.Armed
		if v.Serving == nil {
			w.Expires, w.group = l.Expires, max(w.group, l.Stamp)
		}
	}
	return w
}

// role names what this hypervisor is to the VM.
func (r *Record) role() string {
	switch {
	case r.Incoming != nil:
		return "preparing"
	case r.Serving != nil && r.Serving.Epoch == 0:
		return "attaching"
	case r.Serving != nil && r.Leaving != nil:
		return "source"
	case r.Serving != nil:
		return "serving"
	case r.Leaving != nil:
		return "anchor"
	}
	return "gone"
}
