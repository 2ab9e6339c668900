package registration

import (
	"net/netip"
	"slices"
	"time"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/wire"
)

const (
	// maxOutstanding is how many transmissions of one Request an acceptance may
	// still answer.
	maxOutstanding = 8
	// maxInFlight bounds the Requests in flight to a peer, so that with all
	// their transmissions half of the sequence numbers stay free.
	maxInFlight = 4096
	// maxInstant is how often in a row a Request is sent again at once after a
	// refusal for its time or sequence number.
	maxInstant = 3
)

// submission is one Request that the caller submitted and that has no answer.
type submission struct {
	token   Token
	peer    *peer
	request Request
	timer   *timer // idle while waiting for a place in flight

	sent     []*transmission // still outstanding, oldest first
	tries    int
	interval time.Duration // until the next retransmission
	instant  int           // transmissions at once since the last regular one
	refused  int           // unreachable reports since the start
	next     *uint16       // sequence number to use, after status 135
}

// transmission is one message that carried a submission.
type transmission struct {
	of       *submission
	sequence uint16
	stamp    wire.Timestamp
	nonce    mobility.Nonce
	at       time.Time
	refused  bool // the peer's kernel said that nobody listens
}

// Submit sends r to a peer, and again with doubling intervals until it is
// answered (Replied) or cancelled. An open token's Request is replaced. Beyond
// MaxOpen Requests in flight to one peer it waits for its turn.
func (n *Node) Submit(now time.Time, t Token, to netip.Addr, r Request, out []Effect) []Effect {
	n.saw(now)
	n.close(n.open[t])
	p := n.peer(to)
	s := &submission{token: t, peer: p, request: r, interval: n.cfg.Retry}
	if r.Handoff == mobility.HandoffNew {
		s.interval = n.cfg.FirstRetry
	}
	s.timer = newTimer(func(now time.Time, out []Effect) []Effect { return n.retry(now, s, out) })
	n.open[t] = s
	if p.inFlight >= n.cfg.MaxOpen {
		p.waiting = append(p.waiting, s)
		return count(out, CountRequestQueued)
	}
	p.inFlight++
	return n.transmit(now, s, out)
}

// Cancel ends a submitted Request without a word; later answers to it no longer
// count. An unknown token is no error.
func (n *Node) Cancel(t Token) { n.close(n.open[t]) }

// close forgets a submission and lets a waiting one take its place.
func (n *Node) close(s *submission) {
	if s == nil {
		return
	}
	delete(n.open, s.token)
	n.timers.stop(s.timer)
	p := s.peer
	if i := slices.Index(p.waiting, s); i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
		return
	}
	for _, tx := range s.sent {
		delete(p.sent, tx.sequence)
	}
	s.sent = nil
	p.inFlight--
	if len(p.waiting) > 0 {
		n.timers.set(p.wake, n.now)
	}
}

func (n *Node) startWaiting(now time.Time, p *peer, out []Effect) []Effect {
	for len(p.waiting) > 0 && p.inFlight < n.cfg.MaxOpen {
		s := p.waiting[0]
		p.waiting = slices.Delete(p.waiting, 0, 1)
		p.inFlight++
		out = n.transmit(now, s, out)
	}
	return out
}

// retry follows on silence, or on a refusal.
func (n *Node) retry(now time.Time, s *submission, out []Effect) []Effect {
	s.instant = 0
	s.interval = min(2*s.interval, n.cfg.MaxRetry)
	if !s.newest().refused { // else it was told already
		out = append(out, Unanswered{Token: s.token, To: s.peer.addr, Tries: s.tries})
	}
	return n.transmit(now, s, count(out, CountRequestRetransmitted))
}

func (s *submission) newest() *transmission { return s.sent[len(s.sent)-1] }

// transmit sends s with a new sequence number, timestamp and nonce and arms its
// timer.
func (n *Node) transmit(now time.Time, s *submission, out []Effect) []Effect {
	p := s.peer
	tx := &transmission{of: s, sequence: n.sequence(s), stamp: n.clock.stamp(now), at: now}
	r := s.request
	r.Timestamp = tx.stamp.Time()
	if n.cfg.Role != RoleManagement {
		tx.nonce = n.nonce()
	}
	r.Nonce = tx.nonce
	payload, err := n.packRequest(&r, tx.sequence)
	if err != nil {
		n.close(s)
		return append(count(out, CountRequestUnencodable), Replied{Token: s.token, From: p.addr,
			Reply: Reply{Status: mobility.StatusUnspecified, VM: r.VM}})
	}
	if len(s.sent) == maxOutstanding {
		delete(p.sent, s.sent[0].sequence)
		s.sent = slices.Delete(s.sent, 0, 1)
	}
	s.sent = append(s.sent, tx)
	p.sent[tx.sequence] = tx
	s.tries++
	n.timers.set(s.timer, now.Add(n.jitter(s.interval)))
	careOf := r.CareOf
	if !careOf.IsValid() {
		careOf = n.cfg.Self
	}
	return append(count(out, CountRequestSent), Send{To: p.addr, CareOf: careOf, Payload: payload})
}

// sequence takes the peer's next sequence number that is not outstanding.
func (n *Node) sequence(s *submission) uint16 {
	p := s.peer
	at := &p.sequence
	if s.next != nil {
		at = s.next
	}
	for p.sent[*at] != nil {
		*at++
	}
	q := *at
	*at++
	return q
}

// nonce gives a nonce that is not zero.
func (n *Node) nonce() (v mobility.Nonce) {
	for v.IsZero() {
		u := n.rng.Uint64()
		for i := range v {
			v[i] = byte(u >> (8 * i))
		}
	}
	return v
}

// Unreachable takes the transport's word that nobody listens at a peer. Every
// Request in flight to it is reported (Refused) once for each transmission and
// sent again soon: after a tenth of the retry interval at first, doubling up to
// the ordinary schedule. It ends nothing: the word is not authenticated.
func (n *Node) Unreachable(now time.Time, to netip.Addr, out []Effect) []Effect {
	n.saw(now)
	p := n.peers[to]
	if p == nil {
		return out
	}
	for _, s := range p.flying() {
		tx := s.newest()
		if tx.refused {
			continue
		}
		tx.refused = true
		d := n.cfg.Retry / 10 << min(s.refused, 16)
		s.refused++
		if soon := now.Add(n.jitter(min(d, n.cfg.MaxRetry))); soon.Before(s.timer.at) {
			n.timers.set(s.timer, soon)
		}
		out = append(count(out, CountPeerRefused),
			Unanswered{Token: s.token, To: to, Tries: s.tries, Refused: true})
	}
	return out
}

// flying gives the submissions in flight, in the order of their tokens.
func (p *peer) flying() []*submission {
	var list []*submission
	for _, tx := range p.sent {
		if tx == tx.of.newest() {
			list = append(list, tx.of)
		}
	}
	slices.SortFunc(list, func(a, b *submission) int {
		if a.token < b.token {
			return -1
		}
		return 1
	})
	return list
}
