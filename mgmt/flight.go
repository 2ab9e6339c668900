package mgmt

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
)

// flight is a message under way: sent and not answered, or refused and waiting
// for its next try.
type flight struct {
	vm      mobility.VMID
	owed    owed
	to      netip.Addr
	token   registration.Token
	wait    time.Time     // set: refused, next try then
	backoff time.Duration // the last wait
	err     string        // what was last heard of it, for people
}

// sync makes the messages under way agree with what the VM's records owe.
// Nothing leaves while a change of them is not durable.
func (c *Core) sync(vm mobility.VMID) {
	v := c.vol(vm)
	if v.pending > 0 {
		return
	}
	if c.now.Before(c.stall) {
		c.wakeAt(vm, c.stall)
		return
	}
	b := c.bindings[vm]
	if b == nil {
		c.cancelAll(v)
		if !v.wake.IsZero() {
			return
		}
		delete(c.volatile, vm)
		return
	}
	want := c.owed(b)
	for _, key := range v.keys() {
		if !slices.ContainsFunc(want, func(o owed) bool { return o.key == key }) {
			c.cancel(v, key)
		}
	}
	for _, o := range want {
		c.send(v, vm, o)
	}
	c.wakeAt(vm, c.nextDue(b))
}

// keys lists the flights in a fixed order.
func (v *volatile) keys() []flightKey {
	keys := make([]flightKey, 0, len(v.flights))
	for k := range v.flights {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b flightKey) int {
		return cmp.Or(cmp.Compare(a.peer, b.peer), cmp.Compare(a.kind, b.kind))
	})
	return keys
}

// send puts one owed message under way unless it is.
func (c *Core) send(v *volatile, vm mobility.VMID, o owed) {
	f := v.flights[o.key]
	to, known := c.inv.Locator(o.key.peer)
	switch {
	case !known: // taken out of the inventory: it cannot be told
		return
	case f != nil && f.to == to && sameRequest(&f.owed.request, &o.request):
		if f.wait.IsZero() || c.now.Before(f.wait) {
			return
		}
	case f != nil: // it says something else now
		f.backoff, f.err = 0, ""
	default:
		f = &flight{vm: vm}
		if v.flights == nil {
			v.flights = map[flightKey]*flight{}
		}
		v.flights[o.key] = f
	}
	if f.token == 0 {
		c.token++
		f.token = c.token
		c.tokens[f.token] = f
	}
	f.owed, f.to, f.wait = o, to, time.Time{}
	c.emit(Count{"messages_sent", o.key.kind.String()})
	c.submit(f)
}

func (c *Core) cancel(v *volatile, key flightKey) {
	f := v.flights[key]
	delete(v.flights, key)
	if f.token != 0 {
		delete(c.tokens, f.token)
		c.node.Cancel(f.token)
	}
}

func (c *Core) cancelAll(v *volatile) {
	for _, key := range v.keys() {
		c.cancel(v, key)
	}
}

// again puts a refused message back: it is owed still, later.
func (c *Core) again(f *flight, r registration.Reply) {
	f.backoff = min(max(f.backoff*2, c.cfg.RetryRefused), c.cfg.RetryRefusedMax)
	f.wait = c.now.Add(f.backoff)
	f.err = fmt.Sprintf("%s: refused: %s (%d)", f.owed.key.kind, r.Status, uint8(r.Status))
	c.vol(f.vm).flights[f.owed.key] = f
	c.emit(Note{Warning: true, Text: f.err, VM: f.vm, Peer: f.owed.key.peer, Epoch: f.owed.request.Epoch})
	c.tx.touch(f.vm)
}

func (c *Core) unanswered(e registration.Unanswered) {
	f := c.tokens[e.Token]
	if f == nil {
		return
	}
	if f.err == "" {
		c.emit(Note{Warning: true, Text: "no answer to " + f.owed.key.kind.String(), VM: f.vm, Peer: f.owed.key.peer, Epoch: f.owed.request.Epoch})
	}
	f.err = fmt.Sprintf("%s: no answer to %d tries", f.owed.key.kind, e.Tries)
	if e.Refused {
		f.err = fmt.Sprintf("%s: nobody listens at %s", f.owed.key.kind, e.To)
	}
}

// sameRequest compares all that a caller of the Node sets.
func sameRequest(a, b *registration.Request) bool {
	return a.VM == b.VM && a.MAC == b.MAC && a.Handoff == b.Handoff && a.Lifetime == b.Lifetime && a.Epoch == b.Epoch &&
		a.CareOf == b.CareOf && a.Locator4 == b.Locator4 && a.Ticket == b.Ticket && a.Move == b.Move &&
		slices.Equal(a.Slots, b.Slots) && slices.Equal(a.Pairs, b.Pairs) && slices.Equal(a.Deliveries, b.Deliveries) &&
		(a.Current == nil) == (b.Current == nil) && (a.Current == nil || *a.Current == *b.Current)
}

// nextDue is when time alone will change something about the VM.
func (c *Core) nextDue(b *Binding) time.Time {
	var next time.Time
	consider := func(t time.Time) {
		if t.After(c.now) && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	consider(b.Grace)
	if b.Hypervisor != "" && b.Grace.IsZero() {
		consider(c.lookAgain(b))
	}
	consider(b.LeaveBy)
	for _, q := range b.Quarantine {
		consider(q.Until)
	}
	if m := c.moves[moveID{b.VM, b.Open}]; b.Open != 0 && m != nil && m.State != MoveAborting {
		consider(m.Deadline)
		if m.State == MovePreparing {
			consider(m.ProveBy)
		}
	}
	if m := c.moves[moveID{b.VM, b.proving()}]; m != nil {
		consider(m.ProveBy)
	}
	for _, f := range c.vol(b.VM).flights {
		consider(f.wait)
	}
	for i := range b.Anchors {
		if a := &b.Anchors[i]; a.Confirmed && !a.Cold && c.keeps(b, a) && c.mayRedirect(b, a) {
			consider(c.keepAt(b.VM, a.Hypervisor, c.inv.Lifetimes.Redirect))
		}
	}
	for _, r := range b.Routes {
		if r.Confirmed && c.routed(b, r.Addr) {
			consider(c.keepAt(b.VM, r.Router, c.inv.Lifetimes.Route))
		}
	}
	if !b.Gone.IsZero() && c.emptied(b) {
		consider(b.Gone.Add(c.inv.Lifetimes.History))
	}
	return next
}
