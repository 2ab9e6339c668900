package registration

import (
	"net/netip"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/wire"
)

// packRequest writes r as a Mobility Header without checksum and authenticator.
// Pairs win over Slots; a zero Timestamp or Nonce leaves its option out.
func (n *Node) packRequest(r *Request, sequence uint16) ([]byte, error) {
	return n.build(wire.TypeRequest, func(m *wire.Message) {
		m.Request.Sequence = sequence
		m.Request.Flags = wire.RequestAck | wire.RequestProxy
		m.Request.Lifetime = r.Lifetime
		if !r.VM.IsZero() {
			m.AddVMID(r.VM)
		}
		packAddresses(m, r.Slots, r.Pairs)
		if r.Locator4.IsValid() {
			m.AddDefaultRouter(r.Locator4)
		}
		if r.Handoff != mobility.HandoffReserved {
			m.AddHandoffIndicator(r.Handoff)
			m.AddAccessTechnology(wire.AccessVirtual)
		}
		if !r.MAC.IsZero() {
			m.AddLinkLayerID(r.MAC)
		}
		if !r.Timestamp.IsZero() {
			m.AddTimestamp(wire.TimestampOf(r.Timestamp))
		}
		packMove(m, r.Ticket, r.Epoch, r.Move)
		packTail(m, r.Deliveries, r.Nonce)
		if r.Current != nil {
			m.AddSlotCount(*r.Current)
		}
		if r.CareOf.IsValid() {
			m.AddAlternateCareOf(r.CareOf)
		}
	})
}

// packReply writes r likewise. clock, where not 0, is put into a Replay
// Protection option (status 144 and 145, RFC 4285 section 6).
func (n *Node) packReply(r *Reply, sequence uint16, replay wire.NTPTime) ([]byte, error) {
	return n.build(wire.TypeReply, func(m *wire.Message) {
		m.Reply = wire.Reply{Status: r.Status, Flags: wire.ReplyProxy, Sequence: sequence, Lifetime: r.Lifetime}
		if !r.VM.IsZero() {
			m.AddVMID(r.VM)
		}
		packAddresses(m, r.Slots, r.Pairs)
		if r.Handoff != mobility.HandoffReserved {
			m.AddHandoffIndicator(r.Handoff)
			m.AddAccessTechnology(wire.AccessVirtual)
		}
		if !r.MAC.IsZero() {
			m.AddLinkLayerID(r.MAC)
		}
		if replay != 0 {
			m.AddReplayProtection(replay)
		}
		if !r.Timestamp.IsZero() {
			m.AddTimestamp(wire.TimestampOf(r.Timestamp))
		}
		packMove(m, mobility.Ticket{}, r.Epoch, mobility.MoveOptions{})
		packTail(m, r.Deliveries, r.Nonce)
	})
}

// packAddresses writes the slots, or the pairs as two options each, those of
// IPv6 first.
func packAddresses(m *wire.Message, slots []netip.Addr, pairs []mobility.Pair) {
	for _, four := range []bool{false, true} {
		for _, p := range pairs {
			if p.Old.Is4() == four {
				m.AddPair(p)
			}
		}
		if len(pairs) > 0 {
			continue
		}
		for _, a := range slots {
			if a.Is4() == four {
				m.AddAddress(a)
			}
		}
	}
}

func packMove(m *wire.Message, t mobility.Ticket, e mobility.Epoch, o mobility.MoveOptions) {
	if !t.IsZero() {
		m.AddTicket(t)
	}
	if e != 0 {
		m.AddEpoch(e)
	}
	if o.Mode != 0 {
		m.AddMove(o)
	}
}

func packTail(m *wire.Message, ds []mobility.Delivery, nonce mobility.Nonce) {
	for _, d := range ds {
		m.AddDelivery(d)
	}
	if !nonce.IsZero() {
		m.AddNonce(nonce)
	}
}
