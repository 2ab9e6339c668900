package registration

import (
	"net/netip"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/wire"
)

// unpackRequest reads a Request in the way of role. The status is
// StatusMalformedPrefix or StatusPairMismatch when the address options cannot be
// read; the rest of the Request is whole then.
func unpackRequest(m *wire.Message, role Role) (Request, mobility.Status) {
	r := Request{Lifetime: m.Request.Lifetime}
	r.VM, _ = m.VMID()
	r.MAC, _ = m.LinkLayerID()
	r.Handoff, _ = m.HandoffIndicator()
	r.CareOf, _ = m.AlternateCareOf()
	r.Locator4, _ = m.DefaultRouter()
	if t, ok := m.Timestamp(); ok {
		r.Timestamp = t.Time()
	}
	var epoch bool
	r.Ticket, _ = m.Ticket()
	r.Epoch, epoch = m.Epoch()
	r.Move, _ = m.Move()
	r.Nonce, _ = m.Nonce()
	r.Deliveries = m.AppendDeliveries(nil)
	if c, ok := m.SlotCount(); ok {
		r.Current = &c
	}
	form := formSlots
	switch {
	case role == RoleManagement:
	case r.HasMove() || epoch:
		form = formPairs
	case r.CareOf.IsValid():
		form = formEither
	}
	var status mobility.Status
	r.Slots, r.Pairs, status = unpackAddresses(m, form)
	return r, status
}

// unpackReply reads a Reply; pairs tells that its Request had pairs.
func unpackReply(m *wire.Message, pairs bool) Reply {
	r := Reply{Status: m.Reply.Status, Lifetime: m.Reply.Lifetime}
	r.VM, _ = m.VMID()
	r.MAC, _ = m.LinkLayerID()
	r.Handoff, _ = m.HandoffIndicator()
	if t, ok := m.Timestamp(); ok {
		r.Timestamp = t.Time()
	}
	r.Epoch, _ = m.Epoch()
	r.Nonce, _ = m.Nonce()
	r.Deliveries = m.AppendDeliveries(nil)
	form := formSlots
	if pairs {
		form = formEither
	}
	r.Slots, r.Pairs, _ = unpackAddresses(m, form)
	return r
}

// form says what a list of addresses holds.
type form uint8

const (
	formSlots  form = iota
	formPairs       // two options each; an odd number is an error
	formEither      // pairs when every family has an even number, else slots
)

func unpackAddresses(m *wire.Message, f form) ([]netip.Addr, []mobility.Pair, mobility.Status) {
	list := m.AppendAddresses(nil)
	if len(list) == 0 {
		return nil, nil, mobility.StatusAccepted
	}
	slots := make([]netip.Addr, len(list))
	for i, a := range list {
		if !a.IsHost() {
			return nil, nil, mobility.StatusMalformedPrefix
		}
		slots[i] = a.Addr
	}
	if f == formSlots {
		return slots, nil, mobility.StatusAccepted
	}
	pairs, even := m.AppendPairs(nil)
	switch {
	case even:
		return nil, pairs, mobility.StatusAccepted
	case f == formEither:
		return slots, nil, mobility.StatusAccepted
	}
	return nil, nil, mobility.StatusPairMismatch
}
