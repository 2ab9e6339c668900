package agent

import (
	"net/netip"
	"slices"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
)

// asked takes a Request of the management node that has passed every check
// that needs no knowledge of VMs. The numbers are the rows of docs/moves.md.
func (c *Core) asked(a registration.Ask) {
	r := &a.Request
	if !r.HasMove() {
		r.Move = mobility.MoveOptions{}
	} else if err := r.Move.Validate(); err != nil {
		c.refuse(nil, a, mobility.Refuse(mobility.StatusProhibited, "%v", err))
		return
	}
	switch {
	case r.Lifetime == 0 && r.Move.Phase == mobility.PhaseAbort:
		c.known(a, c.abort) // 12, 13
	case r.Lifetime == 0 && r.Move.Phase == mobility.PhaseCommit && len(r.Pairs) > 0:
		c.known(a, c.drained) // 10
	case r.Lifetime == 0:
		c.known(a, c.cold) // 14
	case r.Move.Phase == mobility.PhaseAbort:
		c.known(a, c.freeze) // 11
	case r.Move.Phase == mobility.PhasePrepare && !rewrites(r.Pairs):
		v := c.get(r.VM)
		c.do(v, func() { c.arrive(v, a) }) // 4
	case c.vms[r.VM] == nil:
		c.refuse(nil, a, mobility.Refuse(mobility.StatusNotVMForThisNode, "%s was never here", r.VM))
	case r.Move.Phase == mobility.PhasePrepare:
		c.known(a, c.depart) // 5
	default:
		c.known(a, c.handoff) // 7, 15
	}
}

// known runs a job for a VM that has a record. One without needs nothing to be
// undone: the answer is as if it had been done before.
func (c *Core) known(a registration.Ask, job func(*vm, registration.Ask)) {
	v := c.vms[a.Request.VM]
	if v == nil {
		c.answer(a, registration.Reply{Lifetime: a.Request.Lifetime, Epoch: a.Request.Epoch})
		return
	}
	c.do(v, func() { job(v, a) })
}

func (c *Core) answer(a registration.Ask, r registration.Reply) {
	c.handle(c.node.Answer(c.now, a.Handle, r, nil))
}

// accept answers after the record, with the order of this Request in it, is
// durable, and ends the job.
func (c *Core) accept(v *vm, a registration.Ask, r registration.Reply) {
	r.Lifetime = a.Request.Lifetime
	if r.Epoch == 0 {
		r.Epoch = a.Request.Epoch
	}
	v.setOrder(a.Order)
	v.seen(a.Request.Epoch)
	if v.Empty() { // nothing to keep: forgotten by done
		c.answer(a, r)
		c.done(v)
		return
	}
	c.persist(v, func(err error) {
		if err != nil {
			c.refuse(v, a, err)
			return
		}
		c.answer(a, r)
		c.done(v)
	})
}

// refuse answers with the status of err and the highest epoch known, and ends
// the job; v may be nil.
func (c *Core) refuse(v *vm, a registration.Ask, err error) {
	status := statusOf(err, mobility.StatusForwardingFailed)
	r := registration.Reply{Status: status}
	if v != nil {
		r.Epoch = max(v.Known, v.Epoch)
	}
	c.count("request_refused")
	c.emit(Note{Level: LevelWarn, VM: a.Request.VM, Text: "request of the management node refused", Err: err})
	c.answer(a, r)
	if v != nil {
		c.done(v)
	}
}

func rewrites(pairs []mobility.Pair) bool {
	return slices.ContainsFunc(pairs, mobility.Pair.Rewrites)
}

// pairsOf gives the pairs of a Request for the addresses that a VM has here. A
// plain list, the draft's literal form, is the new addresses in slot order.
func pairsOf(r *registration.Request, live []netip.Addr) ([]mobility.Pair, error) {
	if len(r.Pairs) > 0 {
		return r.Pairs, checkPairs(r.Pairs)
	}
	switch {
	case len(r.Slots) == 0:
		return nil, mobility.Refuse(mobility.StatusMissingAddress, "no address of %s", r.VM)
	case len(r.Slots) != len(live):
		return nil, mobility.Refuse(mobility.StatusPairMismatch, "a list of %d addresses for the %d of %s", len(r.Slots), len(live), r.VM)
	}
	v6, v4 := mobility.SplitFamilies(live)
	ordered := append(v6, v4...)
	pairs := make([]mobility.Pair, len(ordered))
	for i, old := range ordered {
		if slices.Contains(live, r.Slots[i]) {
			return nil, mobility.Refuse(mobility.StatusPairMismatch, "a plain list that repeats the old address %s", r.Slots[i])
		}
		pairs[i] = mobility.Pair{Old: old, New: r.Slots[i]}
	}
	return pairs, checkPairs(pairs)
}

// checkPairs refuses lists that no record could hold.
func checkPairs(pairs []mobility.Pair) error {
	if len(pairs) > mobility.MaxOldAddresses {
		return mobility.Refuse(mobility.StatusResources, "%d old addresses, at most %d", len(pairs), mobility.MaxOldAddresses)
	}
	seen := make(map[netip.Addr]bool, len(pairs))
	for _, p := range pairs {
		if p.Old.Is4() != p.New.Is4() || seen[p.Old] {
			return mobility.Refuse(mobility.StatusPairMismatch, "pair (%s, %s)", p.Old, p.New)
		}
		seen[p.Old] = true
	}
	return nil
}

// sameSet reports whether the pairs are about exactly these old addresses.
func sameSet(pairs []mobility.Pair, olds []netip.Addr) bool {
	if len(pairs) != len(olds) {
		return false
	}
	return subset(pairs, olds)
}

// covers reports whether each of these addresses has a pair.
func covers(pairs []mobility.Pair, addrs []netip.Addr) bool {
	return !slices.ContainsFunc(addrs, func(a netip.Addr) bool {
		return !slices.ContainsFunc(pairs, func(p mobility.Pair) bool { return p.Old == a })
	})
}

// subset reports whether every pair is about one of these old addresses.
func subset(pairs []mobility.Pair, olds []netip.Addr) bool {
	for _, p := range pairs {
		if !slices.Contains(olds, p.Old) {
			return false
		}
	}
	return true
}
