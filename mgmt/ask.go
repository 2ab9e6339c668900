package mgmt

import (
	"errors"
	"net/netip"
	"slices"
	"strconv"

	"github.com/dpmip/dpmip/mgmt/inventory"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
)

// question is a Request from a hypervisor with what is known of both.
type question struct {
	registration.Ask
	host *inventory.Hypervisor
	b    *Binding // nil = the VM is unknown
	open *Move    // before its COMMIT, nil = none
}

// ask decides one Request. The order of the checks is that of the protocol
// profile, section 4; those before 154 are the Node's.
func (c *Core) ask(a registration.Ask) {
	q := question{Ask: a, host: c.inv.Hypervisors[c.inv.Peer(a.From)], b: c.tx.binding(a.Request.VM)}
	if q.b != nil {
		q.open = c.tx.move(q.b.VM, q.b.Open)
	}
	if err := c.decide(&q); err != nil {
		c.refuse(&q, err)
	}
}

func (c *Core) decide(q *question) error {
	r := &q.Request
	if err := c.checkSender(q); err != nil {
		return err
	}
	if err := checkSlots(r.Slots); err != nil {
		return err
	}
	if r.Lifetime == 0 {
		return c.release(q)
	}
	if err := c.authorise(q); err != nil {
		return err
	}
	switch {
	case q.b == nil || q.b.Hypervisor == "":
		return c.register(q)
	case q.b.Hypervisor == q.host.Name:
		return c.refresh(q)
	}
	return c.takeOver(q)
}

func (c *Core) checkSender(q *question) error {
	switch r := &q.Request; {
	case q.host == nil:
		return mobility.Refuse(mobility.StatusNotAuthorisedNode, "%s is no hypervisor's locator", q.From)
	case c.peer(q.host.Name).Retired:
		return mobility.Refuse(mobility.StatusNotAuthorisedNode, "hypervisor %s is retired", q.host.Name)
	case r.CareOf.IsValid() && !slices.Contains(q.host.Locators, r.CareOf.Unmap()):
		return mobility.Refuse(mobility.StatusNotAuthorisedNode, "option 3 is %s, not a locator of %s", r.CareOf, q.host.Name)
	case r.Locator4.IsValid() && !slices.Contains(q.host.Locators, r.Locator4):
		return mobility.Refuse(mobility.StatusNotAuthorisedNode, "option 38 is %s, not a locator of %s", r.Locator4, q.host.Name)
	}
	return nil
}

func checkSlots(slots []netip.Addr) error {
	switch {
	case len(slots) == 0:
		return mobility.Refuse(mobility.StatusMissingAddress, "no address")
	case len(slots) > mobility.MaxOldAddresses:
		return mobility.Refuse(mobility.StatusResources, "%d addresses, at most %d", len(slots), mobility.MaxOldAddresses)
	}
	for i, s := range slots {
		if !s.IsValid() || s.IsUnspecified() || s.IsMulticast() || s.IsLoopback() {
			return mobility.Refuse(addressStatus(s), "%s cannot be a VM's address", s)
		}
		if slices.Contains(slots[:i], s) {
			return mobility.Refuse(mobility.StatusPairMismatch, "%s is listed twice", s)
		}
	}
	return nil
}

// authorise checks every slot: in the hypervisor's range, or this VM's already
// (whether the sender may have it then is judged by ticket and binding).
func (c *Core) authorise(q *question) error {
	if len(q.Request.Slots) > mobility.MaxSlots {
		return mobility.Refuse(mobility.StatusResources, "%d slots, at most %d", len(q.Request.Slots), mobility.MaxSlots)
	}
	for _, s := range q.Request.Slots {
		owner, taken := c.byAddr[s]
		switch {
		case q.b != nil && q.b.has(s):
			continue
		case taken && owner != q.Request.VM:
			c.claimed(q, s, owner)
			return mobility.Refuse(addressStatus(s), "%s belongs to vm %s at %s, which keeps it; %s claims it for another VM", s, owner, c.placeOf(owner), c.sited(q.host.Name))
		case s.Is4() && !q.host.HasRange(true):
			return mobility.Refuse(mobility.StatusNoIPv4, "hypervisor %s has no IPv4 range", q.host.Name)
		case !q.host.Owns(s):
			return mobility.Refuse(addressStatus(s), "%s lies in no range of %s", s, q.host.Name)
		}
	}
	return nil
}

func addressStatus(a netip.Addr) mobility.Status {
	if a.Is4() {
		return mobility.StatusAddress4
	}
	return mobility.StatusAddress6
}

// refuse answers with the status of err, and the highest epoch known.
func (c *Core) refuse(q *question, err error) {
	var se *mobility.StatusError
	if !errors.As(err, &se) {
		se = mobility.Refuse(mobility.StatusUnspecified, "%v", err)
	}
	r := registration.Reply{Status: se.Status}
	if q.b != nil {
		r.Epoch = q.b.Epoch
	}
	c.emit(Count{"requests_refused", strconv.Itoa(int(se.Status))})
	ordinary := errors.As(err, new(notYet))
	c.emit(Note{Warning: !ordinary, Debug: ordinary, Text: se.Error(), VM: q.Request.VM, Peer: q.peer(), Epoch: q.Request.Epoch})
	c.answer(q.Handle, r)
}

func (q *question) peer() string {
	if q.host != nil {
		return q.host.Name
	}
	return q.From.String()
}

// accept answers when this Step's changes are durable, and with 130 if they
// never will be.
func (c *Core) accept(q *question, b *Binding, what string, r registration.Reply) {
	b.order(q.Order)
	r.Status = mobility.StatusAccepted
	h, vm := q.Handle, q.Request.VM
	c.tx.then = append(c.tx.then, func() {
		c.emit(Count{"requests_accepted", what})
		c.answer(h, r)
	})
	c.tx.fail = append(c.tx.fail, func(err error) {
		c.emit(Note{Warning: true, Text: what + " refused: " + err.Error(), VM: vm})
		c.emit(Count{"requests_refused", strconv.Itoa(int(mobility.StatusResources))})
		c.answer(h, registration.Reply{Status: mobility.StatusResources})
	})
}

// grant extends the binding and says by how much.
func (c *Core) grant(b *Binding, asked mobility.Lifetime) mobility.Lifetime {
	b.Lifetime = min(asked, mobility.LifetimeOf(c.inv.Lifetimes.Binding))
	b.Expires = c.now.Add(b.Lifetime.Duration())
	b.Grace = noTime
	return b.Lifetime
}
