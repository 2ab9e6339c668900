package registration

import (
	"time"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/wire"
)

// receiveReply takes a Reply (RFC 5213 section 6.9.1.2). It counts only if it is
// authentic, answers a sequence number that is outstanding, and repeats what that
// transmission said.
func (n *Node) receiveReply(now time.Time, in Inbound, out []Effect) []Effect {
	if !authentic(in.Auth) {
		return count(out, CountUnauthenticated)
	}
	tx := n.answered(in)
	if tx == nil {
		return count(out, CountReplyNotOutstanding)
	}
	s := tx.of
	r := unpackReply(in.Message, len(s.request.Pairs) > 0)
	if why := objection(in.Message, &r, tx); why != "" {
		return count(out, why)
	}
	if in.Message.Reply.Flags&wire.ReplyProxy == 0 {
		out = count(out, CountReplyWithoutP)
	}
	switch r.Status {
	case mobility.StatusTimestampMismatch, mobility.StatusTimestampOlder:
		return n.replyClock(now, tx, &r, out)
	case mobility.StatusSequence:
		next := in.Message.Reply.Sequence + 1
		s.next = &next
		return n.again(now, s, count(out, CountReplySequence))
	}
	if r.Lifetime > s.request.Lifetime {
		r.Lifetime = s.request.Lifetime
		out = count(out, CountReplyLifetime)
	}
	n.close(s)
	out = append(out, Replied{Token: s.token, From: in.From, Reply: r})
	return n.startWaiting(now, s.peer, out)
}

// answered finds the transmission that a Reply answers. A Reply of status 135
// carries the last accepted sequence number instead of ours: it is found by its
// nonce, or else by its VM.
func (n *Node) answered(in Inbound) *transmission {
	p := n.peers[in.From]
	if p == nil {
		return nil
	}
	if in.Message.Reply.Status != mobility.StatusSequence {
		return p.sent[in.Message.Reply.Sequence]
	}
	vm, named := in.Message.VMID()
	nonce, echoed := in.Message.Nonce()
	if !named && !echoed {
		return nil
	}
	var found *transmission
	for _, s := range p.flying() {
		tx := s.newest()
		if named && s.request.VM != vm || echoed && tx.nonce != nonce {
			continue
		}
		if found == nil || tx.stamp > found.stamp {
			found = tx
		}
	}
	return found
}

// objection names the counter of a Reply that must not be taken for an answer to
// tx, or is "".
func objection(m *wire.Message, r *Reply, tx *transmission) string {
	clock := r.Status == mobility.StatusTimestampMismatch || r.Status == mobility.StatusTimestampOlder
	stamp, stamped := m.Timestamp()
	switch {
	case !r.VM.IsZero() && r.VM != tx.of.request.VM:
		return CountReplyOtherVM
	case !r.Nonce.IsZero() && r.Nonce != tx.nonce:
		return CountReplyNonce
	case !r.Status.Accepted() && tx != tx.of.newest():
		return CountReplyOutdated
	case r.Status == mobility.StatusSequence:
		// From a peer that goes by sequence numbers: no timestamp to repeat.
	case !clock && (!stamped || stamp != tx.stamp):
		return CountReplyTimestamp
	}
	return ""
}

// replyClock follows on a refusal of our timestamp. Only an echoed nonce proves
// that the clock in the Reply is fresh.
func (n *Node) replyClock(now time.Time, tx *transmission, r *Reply, out []Effect) []Effect {
	fresh := tx.nonce.IsZero() || r.Nonce == tx.nonce
	if !fresh || r.Timestamp.IsZero() {
		return count(out, CountReplyNonce) // the timer goes on
	}
	stamp := wire.TimestampOf(r.Timestamp)
	switch {
	case r.Status == mobility.StatusTimestampOlder:
		n.clock.raise(now, stamp)
	case n.clock.master:
		// The peer has not learnt our clock yet: it will, by its heartbeats.
		return count(out, CountReplyClock)
	default:
		out = n.measure(tx.at, now, stamp, out)
	}
	return n.again(now, tx.of, count(out, CountReplyClock))
}

// again sends a submission at once, a few times in a row at most; then its timer
// goes on.
func (n *Node) again(now time.Time, s *submission, out []Effect) []Effect {
	if s.instant >= maxInstant {
		return out
	}
	s.instant++
	s.interval = n.cfg.Retry
	return n.transmit(now, s, out)
}
