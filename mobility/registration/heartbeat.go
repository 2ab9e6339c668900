package registration

import (
	"net/netip"
	"slices"
	"time"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/wire"
)

// heartbeat watches one peer (RFC 5847).
type heartbeat struct {
	timer    *timer
	sequence uint32
	sent     []beat // outstanding, oldest first, at most Misses
	missed   int    // in a row
	up       bool
	known    bool // restart was heard once
	restart  uint32
}

// beat is one request without a response.
type beat struct {
	sequence uint32
	nonce    mobility.Nonce
	at       time.Time
}

// Watch starts heartbeats to a peer, one each Config.Heartbeat. A hypervisor or
// router sends the first at once, since it needs the clock; a management node
// with many peers spreads them. Watching twice changes nothing.
func (n *Node) Watch(now time.Time, a netip.Addr, out []Effect) []Effect {
	n.saw(now)
	p := n.peer(a)
	if p.beat != nil || n.cfg.Heartbeat < 0 {
		return out
	}
	h := &heartbeat{sequence: n.rng.Uint32()}
	h.timer = newTimer(func(now time.Time, out []Effect) []Effect { return n.beat(now, p, out) })
	p.beat = h
	if n.cfg.Role == RoleManagement {
		n.timers.set(h.timer, now.Add(time.Duration(n.rng.Float64()*float64(n.cfg.Heartbeat))))
		return out
	}
	return n.beat(now, p, out)
}

// Unwatch ends heartbeats and unacknowledged notices to a peer.
func (n *Node) Unwatch(a netip.Addr) {
	p := n.peers[a]
	if p == nil {
		return
	}
	if p.beat != nil {
		n.timers.stop(p.beat.timer)
		p.beat = nil
	}
	for key, o := range p.notices {
		n.timers.stop(o.timer)
		delete(p.notices, key)
	}
}

// beat takes the last request's silence into account and sends the next.
func (n *Node) beat(now time.Time, p *peer, out []Effect) []Effect {
	h := p.beat
	if len(h.sent) > 0 {
		h.missed++
		out = count(out, CountHeartbeatMissed)
		if h.missed == n.cfg.Misses {
			h.up = false
			out = append(out, PeerDown{Peer: p.addr})
		}
	}
	out = n.sendBeat(now, p, out)
	// Up to a tenth later, never sooner: the rate configured is the highest.
	n.timers.set(h.timer, now.Add(n.cfg.Heartbeat+time.Duration(n.rng.Float64()*float64(n.cfg.Heartbeat)/10)))
	return out
}

// askClock asks a management node whose message was outside the window for its
// time, out of turn: until the offset is known everything it says is refused. A
// question younger than Config.Retry may be answered yet.
func (n *Node) askClock(now time.Time, p *peer, out []Effect) []Effect {
	h := p.beat
	if h == nil || n.cfg.Role == RoleManagement || !n.isManagement(p.addr) {
		return out
	}
	if i := len(h.sent) - 1; i >= 0 && now.Before(h.sent[i].at.Add(n.cfg.Retry)) {
		return out
	}
	return n.sendBeat(now, p, out)
}

func (n *Node) sendBeat(now time.Time, p *peer, out []Effect) []Effect {
	h := p.beat
	if len(h.sent) >= n.cfg.Misses {
		h.sent = slices.Delete(h.sent, 0, 1)
	}
	b := beat{sequence: h.sequence, nonce: n.nonce(), at: now}
	h.sequence++
	h.sent = append(h.sent, b)
	payload, err := n.build(wire.TypeHeartbeat, func(m *wire.Message) {
		m.Heartbeat.Sequence = b.sequence
		m.AddNonce(b.nonce)
	})
	if err != nil {
		return out
	}
	return append(count(out, CountHeartbeatSent), Send{To: p.addr, CareOf: n.cfg.Self, Payload: payload})
}

func (n *Node) receiveHeartbeat(now time.Time, in Inbound, out []Effect) []Effect {
	if !authentic(in.Auth) {
		return count(out, CountUnauthenticated)
	}
	if in.Message.IsAnswer() {
		return n.heartbeatResponse(now, in, out)
	}
	nonce, _ := in.Message.Nonce()
	payload, err := n.build(wire.TypeHeartbeat, func(m *wire.Message) {
		m.Heartbeat = wire.Heartbeat{Flags: wire.HeartbeatResponse, Sequence: in.Message.Heartbeat.Sequence}
		m.AddRestartCounter(n.cfg.RestartCount)
		if !nonce.IsZero() {
			m.AddTimestamp(n.clock.read(now))
			m.AddNonce(nonce)
		}
	})
	if err != nil {
		return out
	}
	return append(count(out, CountHeartbeatAnswered), Send{To: in.From, CareOf: in.From, Payload: payload})
}

// heartbeatResponse counts only for a request that is outstanding; it answers
// all older ones too.
func (n *Node) heartbeatResponse(now time.Time, in Inbound, out []Effect) []Effect {
	p, m := n.peers[in.From], in.Message
	if p == nil || p.beat == nil {
		return count(out, CountHeartbeatNotOutstanding)
	}
	h := p.beat
	nonce, _ := m.Nonce()
	i := slices.IndexFunc(h.sent, func(b beat) bool { return b.sequence == m.Heartbeat.Sequence })
	if i < 0 || !nonce.IsZero() && nonce != h.sent[i].nonce || m.Heartbeat.Flags&wire.HeartbeatUnsolicited != 0 {
		return count(out, CountHeartbeatNotOutstanding)
	}
	b := h.sent[i]
	h.sent = slices.Delete(h.sent, 0, i+1)
	h.missed = 0
	if t, ok := m.Timestamp(); ok && !nonce.IsZero() && n.isManagement(p.addr) {
		out = n.measure(b.at, now, t, out)
	}
	was := len(out)
	if out = h.alive(p.addr, m, out); len(out) > was {
		n.hurry(now, p)
	}
	return out
}

// hurry sends what is in flight to a peer that has come back at once, instead of
// when its turn comes after a long silence.
func (n *Node) hurry(now time.Time, p *peer) {
	for _, s := range p.flying() {
		if now.After(s.newest().at.Add(n.cfg.Retry)) { // else it may be answered yet
			s.interval, s.refused = n.cfg.Retry, 0
			n.timers.set(s.timer, now)
		}
	}
}

// alive tells when the peer came up or restarted.
func (h *heartbeat) alive(a netip.Addr, m *wire.Message, out []Effect) []Effect {
	restart, told := m.RestartCounter()
	restarted := told && h.known && restart != h.restart
	if told {
		h.restart, h.known = restart, true
	}
	if h.up && !restarted {
		return out
	}
	h.up = true
	return append(out, PeerUp{Peer: a, Restart: h.restart, Restarted: restarted})
}
