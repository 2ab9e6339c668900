package haltest

import (
	"net/netip"

	"github.com/dpmip/dpmip/hwabstraction"
)

// Act is what becomes of a packet.
type Act uint8

// Acts.
const (
	ActInvalid  Act = iota
	ActRoute        // to the fabric, where the routes lead
	ActRedirect     // to the fabric, towards another hypervisor
	ActDeliver      // to a VM port
	ActHold         // kept
	ActDrop         // ended by an Unreachable
	ActLocal        // for the hypervisor itself
)

func (a Act) String() string {
	names := [...]string{"invalid", "route", "redirect", "deliver", "hold", "drop", "local"}
	return names[a]
}

// Decision is where a packet to an address goes: the address it then has, and
// the rule that says so (nil where none does). Restored is the Deliver that
// wrote an address back before, nil where none did.
type Decision struct {
	Act      Act
	To       netip.Addr
	Rule     hwabstraction.Rule
	Restored hwabstraction.Rule
}

type decision = Decision

// Decide tells what the device would do with a packet to an address, without
// policy for new flows, size or hop limit, and counts nothing.
func (d *Chaos) Decide(to netip.Addr) (out Decision) {
	d.on(func(c *card) { out = c.decide(to) })
	return out
}

// decide follows the two tables: dst, at most twice, then the routes.
func (c *card) decide(to netip.Addr) Decision {
	d := c.claim(to)
	deliver, ok := d.Rule.(hwabstraction.Deliver)
	if !ok || deliver.Restore == to || d.Act == ActHold {
		return d
	}
	again := c.claim(deliver.Restore)
	again.Restored = deliver
	if d.Act == ActDeliver && again.Rule == nil {
		again.Act, again.Rule = ActDeliver, deliver
	}
	return again
}

// claim is what stands at one address. A Deliver that gives back comes out as
// ActRoute with the rule, so that decide restores the address.
func (c *card) claim(to netip.Addr) Decision {
	d := Decision{Act: ActRoute, To: to}
	var armed uint32
	if e := c.rules[hwabstraction.RedirectID(to)]; e != nil && c.on(e.rule) {
		d.Act, d.Rule, armed = ActRedirect, e.rule, e.rule.Stamped().Epoch
		d.To = e.rule.(hwabstraction.Redirect).To
	}
	if e := c.rules[hwabstraction.DeliverID(to)]; e != nil && (d.Rule == nil || e.rule.Stamped().Epoch >= armed) {
		r, g := e.rule.(hwabstraction.Deliver), c.groups[e.rule.Stamped()]
		switch {
		case g.Active:
			d.Act, d.Rule, d.To = ActDeliver, r, to
		case g.Returning && r.Restore != to:
			d.Act, d.Rule, d.To = ActRoute, r, to
		case r.Hold && !g.Returning:
			d.Act, d.Rule, d.To = ActHold, r, to
		}
	}
	if d.Rule == nil {
		d = c.route(to)
	}
	return d
}

// route is what the kernel's routes say.
func (c *card) route(to netip.Addr) Decision {
	if to == HypervisorAddr4.Addr() || to == HypervisorAddr6.Addr() {
		return Decision{Act: ActLocal, To: to}
	}
	if e := c.rules[hwabstraction.HostRouteID(to)]; e != nil {
		if r := e.rule.(hwabstraction.HostRoute); r.Port != "" {
			return Decision{Act: ActDeliver, To: to, Rule: r}
		}
		return Decision{Act: ActRoute, To: to, Rule: e.rule}
	}
	for id, e := range c.rules {
		if id.Kind == hwabstraction.KindUnreachable && id.Prefix.Contains(to) {
			return Decision{Act: ActDrop, To: to, Rule: e.rule}
		}
	}
	return Decision{Act: ActRoute, To: to}
}
