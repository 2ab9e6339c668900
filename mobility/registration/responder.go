package registration

import (
	"crypto/sha256"
	"slices"
	"time"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/wire"
)

// question is a received Request with what its answer needs.
type question struct {
	peer     *peer
	request  Request
	sequence uint16
	stamp    wire.Timestamp
	stamped  bool
	replay   wire.NTPTime
	digest   [sha256.Size]byte
}

// ask is a question put to the caller.
type ask struct {
	handle Handle
	order  *order
	*question
}

// receiveRequest checks a Request in the order of the protocol profile, section
// 4. What passes is put to the caller.
func (n *Node) receiveRequest(now time.Time, in Inbound, out []Effect) []Effect {
	if n.cfg.Role != RoleManagement && !n.isManagement(in.From) {
		return count(out, CountNotFromManagement)
	}
	if !authentic(in.Auth) {
		return n.refuseAuth(in, out)
	}
	q, listed := n.question(in)
	if status, why := n.checkReplay(now, in.Message, q); why != "" {
		return n.refuseReplay(now, q, status, count(out, why))
	}
	switch {
	case in.Message.Request.Flags&wire.RequestProxy == 0:
		return n.refuse(q, mobility.StatusNotSupported, count(out, CountRequestNotProxy))
	case q.request.VM.Validate() != nil:
		q.request.VM = mobility.VMID{}
		return n.refuse(q, mobility.StatusMissingID, count(out, CountRequestNoVM))
	}
	return n.checkOrder(now, q, listed, out)
}

func (n *Node) question(in Inbound) (*question, mobility.Status) {
	r, listed := unpackRequest(in.Message, n.cfg.Role)
	q := &question{
		peer: n.peer(in.From), request: r, sequence: in.Message.Request.Sequence,
		digest: sha256.Sum256(in.Bytes),
	}
	q.stamp, q.stamped = in.Message.Timestamp()
	q.replay, _ = in.Message.ReplayProtection()
	return q, listed
}

// checkReplay checks the Replay Protection option (RFC 4285 section 6), where it
// is present or required. The same option in a repeated Request is no mismatch.
func (n *Node) checkReplay(now time.Time, m *wire.Message, q *question) (mobility.Status, string) {
	t, ok := m.ReplayProtection()
	switch {
	case !ok && n.cfg.RequireReplayOption:
		return mobility.StatusReplayMissing, CountRequestReplayMissing
	case !ok:
		return 0, ""
	case !within(wire.TimestampOf(t.Time()), n.clock.read(now), n.cfg.Window):
		return mobility.StatusReplayMismatch, CountRequestReplayMismatch
	}
	if o := q.peer.orders[q.request.VM]; o != nil && t <= o.replay && o.digest != q.digest {
		return mobility.StatusReplayMismatch, CountRequestReplayMismatch
	}
	return 0, ""
}

// checkOrder checks timestamp or sequence number, then what needs the option
// alone, and asks.
func (n *Node) checkOrder(now time.Time, q *question, listed mobility.Status, out []Effect) []Effect {
	p, clock := q.peer, n.clock.read(now)
	o := p.orders[q.request.VM]
	verdict, newest := p.judge(o, q, clock, n.cfg.Window)
	switch verdict {
	case verdictRepeated:
		return n.repeat(now, p, o, out)
	case verdictOutside:
		q.request.Timestamp = clock.Time()
		out = n.refuse(q, mobility.StatusTimestampMismatch, count(out, CountRequestWindow))
		return n.askClock(now, q.peer, out)
	case verdictOlder:
		// Tells the sender what its next timestamp must pass.
		q.request.Timestamp = newest.Time()
		return n.refuse(q, mobility.StatusTimestampOlder, count(out, CountRequestOlder))
	case verdictSequence:
		q.sequence = o.sequence
		return n.refuse(q, mobility.StatusSequence, count(out, CountRequestSequence))
	}
	if o != nil && o.ask != nil && sameContent(&o.ask.request, &q.request) {
		// A retransmission: the Answer owed will go to it instead.
		p.accept(o, q)
		o.ask.question = q
		return count(out, CountRequestInProgress)
	}
	if p.asks >= n.cfg.MaxOpen {
		return n.refuse(q, mobility.StatusResources, count(out, CountRequestFull))
	}
	if o = n.orderFor(p, q.request.VM, clock); o == nil {
		return n.refuse(q, mobility.StatusResources, count(out, CountRequestFull))
	}
	p.accept(o, q)
	return n.ask(now, p, o, q, listed, out)
}

// ask refuses what the options alone tell, and puts the rest to the caller.
func (n *Node) ask(now time.Time, p *peer, o *order, q *question, listed mobility.Status, out []Effect) []Effect {
	if status, why := n.checkOptions(p, q, listed); why != "" {
		out = n.refuse(q, status, count(out, why))
		if s, ok := out[len(out)-1].(Send); ok {
			n.keep(now, p, o, s.Payload)
		}
		return out
	}
	n.handle++
	a := &ask{handle: n.handle, order: o, question: q}
	o.ask = a
	n.asks[a.handle] = a
	p.asks++
	return append(count(out, CountRequestAsked),
		Ask{Handle: a.handle, From: p.addr, Request: q.request, Order: o.durable(p.addr)})
}

// checkOptions refuses what needs the options alone: a hypervisor that names
// another locator than its own, address options that cannot be read.
func (n *Node) checkOptions(p *peer, q *question, listed mobility.Status) (mobility.Status, string) {
	careOf := q.request.CareOf
	switch {
	case n.cfg.Role == RoleManagement && careOf.IsValid() && careOf != p.addr.Unmap():
		return mobility.StatusNotAuthorisedNode, CountRequestLocator
	case listed == mobility.StatusMalformedPrefix:
		return listed, CountRequestPrefix
	case listed == mobility.StatusPairMismatch:
		return listed, CountRequestOddPairs
	}
	return 0, ""
}

// repeat answers a Request that came again, byte for byte.
func (n *Node) repeat(now time.Time, p *peer, o *order, out []Effect) []Effect {
	switch {
	case o.ask != nil && o.ask.digest == o.digest:
		return count(out, CountRequestInProgress)
	case o.reply == nil || now.Sub(o.replied) > n.cfg.CachedReply:
		return count(out, CountRequestForgotten)
	}
	return append(count(out, CountRequestRepeated), Send{To: p.addr, CareOf: p.addr, Payload: o.reply})
}

// Answer gives the answer owed to an Ask. The lifetime is cut to the one asked
// for, and is 0 in a refusal. A handle not open is counted and else ignored.
func (n *Node) Answer(now time.Time, h Handle, r Reply, out []Effect) []Effect {
	n.saw(now)
	a := n.asks[h]
	if a == nil {
		return count(out, CountAnswerUnknown)
	}
	delete(n.asks, h)
	a.peer.asks--
	r.fill(&a.request)
	payload, err := n.packReply(&r, a.sequence, a.replay)
	if err != nil {
		out = count(out, CountAnswerUnencodable)
		bare := Reply{Status: mobility.StatusUnspecified}
		bare.fill(&a.request)
		if payload, err = n.packReply(&bare, a.sequence, 0); err != nil {
			return out
		}
	}
	if a.order.ask == a {
		a.order.ask = nil
		n.keep(now, a.peer, a.order, payload)
	}
	return append(out, Send{To: a.peer.addr, CareOf: a.peer.addr, Payload: payload})
}

// fill completes a Reply from its Request.
func (r *Reply) fill(q *Request) {
	def(&r.VM, q.VM)
	def(&r.MAC, q.MAC)
	def(&r.Handoff, q.Handoff)
	def(&r.Timestamp, q.Timestamp)
	def(&r.Nonce, q.Nonce)
	r.Lifetime = min(r.Lifetime, q.Lifetime)
	if !r.Status.Accepted() {
		r.Lifetime = 0
	}
}

// refuse answers a Request that the Node itself refuses; nothing is kept.
func (n *Node) refuse(q *question, s mobility.Status, out []Effect) []Effect {
	return n.sendRefusal(q, Reply{Status: s, VM: q.request.VM, Timestamp: q.request.Timestamp, Nonce: q.request.Nonce}, 0, out)
}

// refuseReplay answers with our clock in a Replay Protection option.
func (n *Node) refuseReplay(now time.Time, q *question, s mobility.Status, out []Effect) []Effect {
	r := Reply{Status: s, Timestamp: q.request.Timestamp, Nonce: q.request.Nonce}
	if q.request.VM.Validate() == nil {
		r.VM = q.request.VM
	}
	return n.sendRefusal(q, r, wire.NTPTimeOf(n.clock.read(now).Time()), out)
}

func (n *Node) sendRefusal(q *question, r Reply, replay wire.NTPTime, out []Effect) []Effect {
	payload, err := n.packReply(&r, q.sequence, replay)
	if err != nil {
		return count(out, CountAnswerUnencodable)
	}
	return append(out, Send{To: q.peer.addr, CareOf: q.peer.addr, Payload: payload})
}

// refuseAuth answers a Request whose authenticator failed with a Reply that is
// never larger than it, and keeps no state.
func (n *Node) refuseAuth(in Inbound, out []Effect) []Effect {
	out = count(out, CountRequestAuthFailed)
	r := Reply{Status: mobility.StatusAuthFailed}
	payload, err := n.packReply(&r, in.Message.Request.Sequence, 0)
	if err != nil {
		return count(out, CountAnswerUnencodable)
	}
	return append(out, Send{To: in.From, CareOf: in.From, Payload: payload, Unauthenticated: true, Limit: len(in.Bytes)})
}

// sameContent reports whether two Requests differ in nothing but what every
// transmission has new.
func sameContent(a, b *Request) bool {
	current := (a.Current == nil) == (b.Current == nil) && (a.Current == nil || *a.Current == *b.Current)
	return current && a.VM == b.VM && a.MAC == b.MAC && a.Handoff == b.Handoff && a.Lifetime == b.Lifetime &&
		a.CareOf == b.CareOf && a.Locator4 == b.Locator4 && a.Ticket == b.Ticket && a.Epoch == b.Epoch && a.Move == b.Move &&
		slices.Equal(a.Slots, b.Slots) && slices.Equal(a.Pairs, b.Pairs) && slices.Equal(a.Deliveries, b.Deliveries)
}
