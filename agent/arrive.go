package agent

import (
	"net/netip"
	"slices"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
	"github.com/dpmip/dpmip/offload"
)

// arrive is row 4: a VM is to come here. The answer has one Delivery for each
// old address, and leaves after the device has confirmed every rule.
func (c *Core) arrive(v *vm, a registration.Ask) {
	r := &a.Request
	if err := c.checkArrival(v, r); err != nil {
		c.refuse(v, a, err)
		return
	}
	if s := v.Serving; s != nil && s.Epoch == r.Epoch { // activated already, and asked again
		c.accept(v, a, registration.Reply{Deliveries: s.Deliveries})
		return
	}
	prev := v.Clone()
	if in := v.Incoming; in == nil || in.Epoch != r.Epoch || !sameSet(r.Pairs, olds(in.Deliveries)) {
		if err := c.reserve(v, r); err != nil {
			v.Record = prev
			c.refuse(v, a, err)
			return
		}
	}
	c.account(v)
	v.Incoming.Ticket, v.Incoming.Move = r.Ticket, r.Move.WithPhase(mobility.PhaseSingle)
	if !r.MAC.IsZero() {
		v.MAC = r.MAC
	}
	v.setOrder(a.Order)
	v.seen(r.Epoch)
	c.install(v, a, prev)
}

// install makes an Incoming durable, puts its rules and answers.
func (c *Core) install(v *vm, a registration.Ask, prev Record) {
	fail := func(err error) {
		v.Record = prev
		if !v.Empty() {
			c.keep(v)
		}
		c.settle(v)
		c.refuse(v, a, err)
	}
	b := c.binding(v)
	if err := offload.Check(b, c.cfg.Capabilities, v.Incoming.Move.Mode); err != nil {
		fail(err)
		return
	}
	c.persist(v, func(err error) {
		if err != nil {
			v.Record = prev
			c.refuse(v, a, err)
			return
		}
		c.emit(HoldLimit{Stamp: offload.Stamp(v.VM, v.Incoming.Epoch), Limit: c.cfg.Hold})
		c.apply(v, func(err error) {
			if err != nil {
				fail(err)
				return
			}
			v.Incoming.Ready = true
			c.accept(v, a, registration.Reply{Deliveries: v.Incoming.Deliveries})
		})
	})
}

// checkArrival refuses what cannot be prepared here.
func (c *Core) checkArrival(v *vm, r *registration.Request) error {
	if len(r.Pairs) == 0 {
		return mobility.Refuse(mobility.StatusMissingAddress, "no address of %s", r.VM)
	}
	if err := checkPairs(r.Pairs); err != nil {
		return err
	}
	if n := r.Current; n != nil {
		v6, v4 := mobility.SplitFamilies(oldsOf(r.Pairs))
		if int(n.V6) > len(v6) || int(n.V4) > len(v4) || n.V6 == 0 && n.V4 == 0 {
			return mobility.Refuse(mobility.StatusPairMismatch, "%d and %d current slots among %d and %d pairs of %s", n.V6, n.V4, len(v6), len(v4), r.VM)
		}
	}
	switch in, s := v.Incoming, v.Serving; {
	case r.CareOf == c.cfg.Registration.Self:
		return mobility.Refuse(mobility.StatusNotAuthorisedNode, "%s is to come from this hypervisor itself", r.VM)
	case r.Epoch == 0 || r.Epoch < v.Known || r.Epoch < v.Epoch:
		return mobility.Refuse(mobility.StatusProhibited, "%s: epoch %d, known is %d", r.VM, r.Epoch, v.Known)
	case s != nil && s.Epoch != r.Epoch:
		return mobility.Refuse(mobility.StatusProhibited, "%s runs here", r.VM)
	case s == nil && r.Epoch == v.Epoch:
		return mobility.Refuse(mobility.StatusProhibited, "%s: epoch %d is committed elsewhere", r.VM, r.Epoch)
	case in != nil && in.Epoch == r.Epoch && in.Frozen:
		return mobility.Refuse(mobility.StatusProhibited, "%s: the move of epoch %d is being aborted", r.VM, r.Epoch)
	}
	return nil
}

// reserve makes a new Incoming with its delivery addresses and, when
// renumbering, new slots.
func (c *Core) reserve(v *vm, r *registration.Request) error {
	in := &Incoming{Move: r.Move.WithPhase(mobility.PhaseSingle)}
	in.Epoch = r.Epoch
	if in.Port = c.port(v); in.Port == "" {
		return mobility.Refuse(mobility.StatusForwardingFailed, "no port is configured for %s", r.VM)
	}
	current, rest := current(r)
	if len(current) > mobility.MaxSlots {
		return mobility.Refuse(mobility.StatusPairMismatch, "%d current slots of %s, at most %d", len(current), r.VM, mobility.MaxSlots)
	}
	var err error
	if in.Slots, in.Olds, err = c.slots(v, r, current, rest); err != nil {
		c.account(v)
		return err
	}
	for _, old := range append(current, rest...) {
		d, err := c.addrs.delivery(v.VM, old)
		if err != nil {
			c.giveUp(in)
			c.account(v)
			return err
		}
		in.Deliveries = append(in.Deliveries, mobility.Delivery{Old: old, D: d})
	}
	if old := v.Incoming; old != nil { // a newer move replaces an older one
		v.Spent = append(slices.Clone(v.Spent), old.spend(SpentQuarantine, c.now.Add(c.cfg.Quarantine))...)
	}
	in.Hold = true
	in.Guarded = r.Move.New == mobility.PolicyDrop || r.Move.New == mobility.PolicyReject
	v.Incoming = in
	c.degrade(v)
	return nil
}

// slots gives the slots that the VM will have here, and its other addresses.
func (c *Core) slots(v *vm, r *registration.Request, current, rest []netip.Addr) (slots, olds []netip.Addr, err error) {
	if r.Move.Addresses != mobility.AddressesRenumber {
		return current, rest, nil
	}
	for _, old := range current {
		s, err := c.addrs.slot(v.VM, old.Is4())
		if err != nil {
			for _, s := range slots {
				c.addrs.free(v.VM, s)
			}
			return nil, nil, err
		}
		slots = append(slots, s)
	}
	return slots, append(slices.Clone(current), rest...), nil
}

// degrade climbs down where the device lacks what the move can do without.
func (c *Core) degrade(v *vm) {
	b := c.binding(v)
	for _, f := range offload.Degrade(&b, c.cfg.Capabilities, v.Incoming.Move.Mode) {
		v.Incoming.Hold = false
		c.count("degraded_" + string(f))
		c.emit(Note{Level: LevelWarn, VM: v.VM, Text: "the device lacks the feature " + string(f) + ": this move goes without it"})
	}
}

// giveUp frees what a reservation took before it failed.
func (c *Core) giveUp(in *Incoming) {
	for _, d := range in.Deliveries {
		c.addrs.free(c.addrs.taken[d.D], d.D)
	}
	if in.Move.Addresses == mobility.AddressesRenumber {
		for _, s := range in.Slots {
			c.addrs.free(c.addrs.taken[s], s)
		}
	}
}

// current splits the old addresses of a PREPARE into current slots and others,
// IPv6 first.
func current(r *registration.Request) (slots, rest []netip.Addr) {
	v6, v4 := mobility.SplitFamilies(oldsOf(r.Pairs))
	n6, n4 := len(v6), len(v4)
	if r.Current != nil {
		n6, n4 = int(r.Current.V6), int(r.Current.V4)
	}
	slots = append(slices.Clone(v6[:n6]), v4[:n4]...)
	return slots, append(slices.Clone(v6[n6:]), v4[n4:]...)
}

func oldsOf(pairs []mobility.Pair) []netip.Addr {
	out := make([]netip.Addr, len(pairs))
	for i, p := range pairs {
		out[i] = p.Old
	}
	return out
}

func olds(deliveries []mobility.Delivery) []netip.Addr {
	out := make([]netip.Addr, len(deliveries))
	for i, d := range deliveries {
		out[i] = d.Old
	}
	return out
}
