package registration

import (
	"container/list"
	"crypto/sha256"
	"net/netip"
	"slices"
	"time"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/wire"
)

// order is the ordering state of one (VM, sender): the last accepted Request,
// and the Reply it got.
type order struct {
	vm       mobility.VMID
	place    *list.Element // in peer.recent
	stamp    wire.Timestamp
	sequence uint16
	numbered bool // sequence is set
	replay   wire.NTPTime
	digest   [sha256.Size]byte
	ask      *ask // whose Answer is owed

	reply   []byte // cached, or nil
	replied time.Time
	cached  *list.Element // in peer.cached
}

// verdict is what the order of a Request says.
type verdict uint8

const (
	verdictNewer verdict = iota + 1
	verdictRepeated
	verdictOutside  // 156
	verdictOlder    // 157
	verdictSequence // 135
)

// judge compares a Request with what was accepted before (RFC 5213 section 5.5).
// A second Request with the last timestamp and other bytes is older.
func (o *order) judge(q *question, clock wire.Timestamp, window time.Duration) verdict {
	known := o != nil && o.digest == q.digest
	if !q.stamped {
		switch {
		case o == nil || !o.numbered:
			return verdictNewer
		case known && o.sequence == q.sequence:
			return verdictRepeated
		}
		if ahead := q.sequence - o.sequence; ahead >= 1 && ahead <= 32768 {
			return verdictNewer
		}
		return verdictSequence
	}
	switch {
	case known && o.stamp == q.stamp:
		return verdictRepeated
	case !within(q.stamp, clock, window):
		return verdictOutside
	case o != nil && q.stamp <= o.stamp:
		return verdictOlder
	}
	return verdictNewer
}

// judge compares a Request with what was accepted before: in this process about
// its VM, in an earlier one about any. It gives the timestamp that it must pass, too.
// What an earlier process accepted outside the window says nothing: either no
// Request is that old any more, or the sender's clock was put back.
func (p *peer) judge(o *order, q *question, clock wire.Timestamp, window time.Duration) (verdict, wire.Timestamp) {
	v := o.judge(q, clock, window)
	switch {
	case v == verdictNewer && q.stamped && q.stamp <= p.passed && within(p.passed, clock, window):
		return verdictOlder, p.passed
	case o != nil:
		return v, o.stamp
	}
	return v, 0
}

// accept makes q the last accepted one.
func (p *peer) accept(o *order, q *question) {
	if q.stamped {
		o.stamp = q.stamp
	}
	o.sequence, o.numbered, o.digest = q.sequence, true, q.digest
	o.replay = max(o.replay, q.replay)
	p.recent.MoveToBack(o.place)
	p.uncache(o)
}

// orderFor gives the state for a VM, made when there is room. A full table
// forgets the least recent VM whose timestamp is outside the window: a repeated
// message of it would be refused for its age. When there is none, nil.
func (n *Node) orderFor(p *peer, vm mobility.VMID, clock wire.Timestamp) *order {
	if o := p.orders[vm]; o != nil {
		return o
	}
	if len(p.orders) >= n.cfg.MaxOrders && !n.forget(p, clock) {
		return nil
	}
	o := &order{vm: vm}
	o.place = p.recent.PushBack(o)
	p.orders[vm] = o
	return o
}

func (n *Node) forget(p *peer, clock wire.Timestamp) bool {
	// The least recent few: those in sequence mode cannot be forgotten.
	e := p.recent.Front()
	for range 16 {
		if e == nil {
			return false
		}
		o := e.Value.(*order)
		if o.ask == nil && o.stamp != 0 && o.stamp < clock && !within(o.stamp, clock, 2*n.cfg.Window) {
			p.drop(o)
			return true
		}
		e = e.Next()
	}
	return false
}

// drop forgets a VM.
func (p *peer) drop(o *order) {
	p.uncache(o)
	p.recent.Remove(o.place)
	delete(p.orders, o.vm)
}

// keep caches the Reply to the last accepted Request and drops what is too old
// or too much.
func (n *Node) keep(now time.Time, p *peer, o *order, reply []byte) {
	p.uncache(o)
	o.reply, o.replied = reply, now
	o.cached = p.cached.PushBack(o)
	for {
		first := p.cached.Front().Value.(*order)
		if p.cached.Len() <= n.cfg.MaxOpen && now.Sub(first.replied) <= n.cfg.CachedReply {
			return
		}
		p.uncache(first)
		if first == o {
			return
		}
	}
}

func (p *peer) uncache(o *order) {
	if o.cached != nil {
		p.cached.Remove(o.cached)
	}
	o.reply, o.cached = nil, nil
}

// Restore gives back the durable ordering state after a restart. Of more than
// MaxOrders for a sender the newest are kept.
func (n *Node) Restore(orders []Order) {
	orders = slices.Clone(orders)
	slices.SortStableFunc(orders, func(a, b Order) int { return a.Timestamp.Compare(b.Timestamp) })
	for _, d := range orders {
		p := n.peer(d.Sender)
		if e := p.recent.Front(); p.orders[d.VM] == nil && len(p.orders) >= n.cfg.MaxOrders && e != nil {
			p.drop(e.Value.(*order))
		}
		o := n.orderFor(p, d.VM, 0)
		if o == nil {
			continue
		}
		if !d.Timestamp.IsZero() {
			o.stamp = max(o.stamp, wire.TimestampOf(d.Timestamp))
		}
		o.sequence, o.numbered = d.Sequence, true
	}
}

// Passed gives back, after a restart, the newest timestamp that a sender's Requests
// had, whichever VM they were about: what is as old is refused for every VM. It is
// for callers that keep no Order of a VM of which nothing is left: a Request that
// was under way when it was ended must not begin it anew.
func (n *Node) Passed(sender netip.Addr, newest time.Time) {
	if newest.IsZero() {
		return
	}
	p := n.peer(sender)
	p.passed = max(p.passed, wire.TimestampOf(newest))
}

func (o *order) durable(sender netip.Addr) Order {
	d := Order{VM: o.vm, Sender: sender, Sequence: o.sequence}
	if o.stamp != 0 {
		d.Timestamp = o.stamp.Time()
	}
	return d
}
