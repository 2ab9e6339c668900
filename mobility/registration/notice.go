package registration

import (
	"net/netip"
	"time"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/wire"
)

// noticeKind tells the two messages of the management node that are repeated
// until they are acknowledged.
type noticeKind uint8

const (
	noticeUpdate     noticeKind = iota + 1 // Update Notification, RFC 7077
	noticeRevocation                       // Revocation Indication, RFC 5846
)

type noticeKey struct {
	kind     noticeKind
	sequence uint16
}

// notice is one that waits for its acknowledgement.
type notice struct {
	key      noticeKey
	code     uint8 // reason or trigger
	vm       mobility.VMID
	timer    *timer
	interval time.Duration
}

// heardNotice is the last one of a kind that a peer sent.
type heardNotice struct {
	sequence uint16
	stamp    wire.Timestamp
	at       time.Time
}

// revocationNoBinding is the status of an acknowledgement that names no binding
// (RFC 5846 section 5.2).
const revocationNoBinding = 128

// Notify sends an Update Notification with a reason (1 = register again), and
// repeats it with doubling intervals until the peer acknowledges it or Unwatch.
// One that is outstanding already for the same reason is enough.
func (n *Node) Notify(now time.Time, a netip.Addr, reason uint8, out []Effect) []Effect {
	n.saw(now)
	for _, o := range n.peer(a).notices {
		if o.key.kind == noticeUpdate && o.code == reason {
			return out
		}
	}
	return n.announce(now, a, &notice{key: noticeKey{kind: noticeUpdate}, code: reason}, out)
}

// Revoke sends a Revocation Indication for a VM's binding, repeated likewise.
func (n *Node) Revoke(now time.Time, a netip.Addr, vm mobility.VMID, trigger uint8, out []Effect) []Effect {
	n.saw(now)
	return n.announce(now, a, &notice{key: noticeKey{kind: noticeRevocation}, code: trigger, vm: vm}, out)
}

func (n *Node) announce(now time.Time, a netip.Addr, o *notice, out []Effect) []Effect {
	p := n.peer(a)
	if len(p.notices) >= n.cfg.MaxOpen {
		return count(out, CountNoticeFull)
	}
	for o.key.sequence = p.noticeNumber; p.notices[o.key] != nil; o.key.sequence++ {
	}
	p.noticeNumber = o.key.sequence + 1
	o.interval = n.cfg.Retry
	o.timer = newTimer(func(now time.Time, out []Effect) []Effect { return n.sendNotice(now, p, o, out) })
	p.notices[o.key] = o
	return n.sendNotice(now, p, o, out)
}

// sendNotice sends a notice: its sequence number stays, the timestamp is new.
func (n *Node) sendNotice(now time.Time, p *peer, o *notice, out []Effect) []Effect {
	n.timers.set(o.timer, now.Add(n.jitter(o.interval)))
	o.interval = min(2*o.interval, n.cfg.MaxRetry)
	stamp := n.clock.stamp(now)
	t := wire.TypeUpdateNotification
	if o.key.kind == noticeRevocation {
		t = wire.TypeRevocation
	}
	payload, err := n.build(t, func(m *wire.Message) {
		m.UpdateNotification = wire.UpdateNotification{
			Sequence: o.key.sequence, Reason: wire.UpdateReason(o.code), Flags: wire.UpdateAckWanted,
		}
		m.Revocation = wire.Revocation{
			Kind: wire.RevocationIndication, Code: o.code, Sequence: o.key.sequence, Flags: wire.RevocationProxy,
		}
		if !o.vm.IsZero() {
			m.AddVMID(o.vm)
		}
		m.AddTimestamp(stamp)
	})
	if err != nil {
		n.timers.stop(o.timer)
		delete(p.notices, o.key)
		return count(out, CountNoticeInvalid)
	}
	return append(count(out, CountNoticeSent), Send{To: p.addr, CareOf: n.cfg.Self, Payload: payload})
}

// receiveNotice takes a notice or an acknowledgement.
func (n *Node) receiveNotice(now time.Time, in Inbound, out []Effect) []Effect {
	m := in.Message
	switch {
	case !authentic(in.Auth):
		return count(out, CountUnauthenticated)
	case m.Type == wire.TypeUpdateAck:
		return n.acked(in.From, noticeKey{noticeUpdate, m.UpdateAck.Sequence}, out)
	case m.IsAnswer():
		return n.acked(in.From, noticeKey{noticeRevocation, m.Revocation.Sequence}, out)
	case n.cfg.Role == RoleManagement:
		return count(out, CountUnexpectedRole)
	case !n.isManagement(in.From):
		return count(out, CountNotFromManagement)
	case m.Type == wire.TypeUpdateNotification:
		return n.receiveUpdate(now, in, out)
	}
	return n.receiveRevocation(now, in, out)
}

func (n *Node) acked(from netip.Addr, key noticeKey, out []Effect) []Effect {
	p := n.peers[from]
	if p == nil || p.notices[key] == nil {
		return count(out, CountNoticeUnknown)
	}
	n.timers.stop(p.notices[key].timer)
	delete(p.notices, key)
	return count(out, CountNoticeAcked)
}

func (n *Node) receiveUpdate(now time.Time, in Inbound, out []Effect) []Effect {
	u := in.Message.UpdateNotification
	fresh, out := n.fresh(now, in, noticeKey{noticeUpdate, u.Sequence}, out)
	if fresh == noticeStale {
		return out
	}
	ack := wire.UpdateAck{Sequence: u.Sequence}
	if u.Reason != wire.UpdateRegister {
		ack.Status = uint8(mobility.StatusUnspecified)
		out = count(out, CountNoticeInvalid)
	} else if fresh == noticeNew {
		out = append(out, RegisterAgain{From: in.From})
	}
	if u.Flags&wire.UpdateAckWanted == 0 {
		return out
	}
	return n.sendAck(in.From, wire.TypeUpdateAck, func(m *wire.Message) { m.UpdateAck = ack }, out)
}

func (n *Node) receiveRevocation(now time.Time, in Inbound, out []Effect) []Effect {
	r := in.Message.Revocation
	if r.Kind != wire.RevocationIndication {
		return count(out, CountNoticeInvalid)
	}
	fresh, out := n.fresh(now, in, noticeKey{noticeRevocation, r.Sequence}, out)
	if fresh == noticeStale {
		return out
	}
	ack := wire.Revocation{Kind: wire.RevocationAck, Sequence: r.Sequence, Flags: wire.RevocationProxy}
	vm, _ := in.Message.VMID()
	valid := vm.Validate() == nil
	switch {
	case !valid:
		ack.Code = revocationNoBinding
		out = count(out, CountNoticeInvalid)
	case fresh == noticeNew:
		out = append(out, Revoked{From: in.From, VM: vm, Trigger: r.Code})
	}
	return n.sendAck(in.From, wire.TypeRevocation, func(m *wire.Message) {
		m.Revocation = ack
		if valid {
			m.AddVMID(vm)
		}
	}, out)
}

func (n *Node) sendAck(to netip.Addr, t wire.Type, fill func(*wire.Message), out []Effect) []Effect {
	payload, err := n.build(t, fill)
	if err != nil {
		return out
	}
	return append(out, Send{To: to, CareOf: to, Payload: payload})
}

// freshness says whether a notice is to be acted upon.
type freshness uint8

const (
	noticeStale    freshness = iota + 1 // dropped
	noticeRepeated                      // acknowledged again, nothing else
	noticeNew
)

// fresh judges a notice by its timestamp, where it has one, and by its sequence
// number: a retransmission has the same number and a newer timestamp.
func (n *Node) fresh(now time.Time, in Inbound, key noticeKey, out []Effect) (freshness, []Effect) {
	p := n.peer(in.From)
	last, known := p.heard[key.kind]
	stamp, stamped := in.Message.Timestamp()
	if stamped && (stamp <= last.stamp || !within(stamp, n.clock.read(now), n.cfg.Window)) {
		return noticeStale, count(out, CountNoticeStale)
	}
	repeated := known && last.sequence == key.sequence && now.Sub(last.at) <= n.cfg.CachedReply
	p.heard[key.kind] = heardNotice{sequence: key.sequence, stamp: max(stamp, last.stamp), at: now}
	if repeated {
		return noticeRepeated, count(out, CountNoticeRepeated)
	}
	return noticeNew, out
}
