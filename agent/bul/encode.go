package bul

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/dpmip/dpmip/mobility"
)

// The value of an entry, all integers little-endian:
//
//	0 fields  u32: which of the optional fields follow, in the order of their bits
//	4 role    u8
//	5 epoch   u32
//	9 the fields
//
// A list is its length (u8), a bit map of those elements that are IPv6 (u8 or
// u16, lowest bit first), and the elements. What is zero or empty is left out.
// The identifier is the key: subtype and bytes.
const (
	fieldFlags = 1 << iota
	fieldMAC
	fieldPort // length u8, name
	fieldLifetime
	fieldExpires
	fieldSent
	fieldSequence
	fieldSlots
	fieldDeliveries // elements: old, D, flags u8, and Until if bit 7 of the flags is set
	fieldRedirects  // elements: old, new
	fieldLocator
	fieldLocator4
	fieldTicket
	fieldMove
	fieldQuarantine
	fieldExtra // length u16, bytes

	fieldsKnown = 1<<iota - 1
)

const (
	fixedSize = 9
	untilBit  = DeliveryFlags(0x80) // on the wire only

	maxKey   = 1 + mobility.MaxIDLen
	maxValue = fixedSize + 2 + 6 + 1 + MaxPort + 2 + 8 + 8 + 2 +
		2 + mobility.MaxSlots*16 +
		3 + mobility.MaxOldAddresses*(2*16+1+8) +
		3 + mobility.MaxOldAddresses*2*16 +
		16 + 4 + 16 + 5 + 8 + 2 + MaxExtra
)

// appendKey appends the key of an identifier.
func appendKey(b []byte, id mobility.VMID) []byte {
	return append(append(b, byte(id.Subtype)), id.Bytes...)
}

// validate refuses what the encoding cannot hold, by field.
func (e *Entry) validate() error {
	if err := validID(e.ID); err != nil {
		return err
	}
	switch {
	case e.Role == 0 || int(e.Role) >= len(roleNames):
		return fmt.Errorf("bul: %s: role %d", e.ID, e.Role)
	case len(e.Slots) > mobility.MaxSlots:
		return fmt.Errorf("bul: %s: %d slots, want at most %d", e.ID, len(e.Slots), mobility.MaxSlots)
	case len(e.Deliveries) > mobility.MaxOldAddresses:
		return fmt.Errorf("bul: %s: %d deliveries, want at most %d", e.ID, len(e.Deliveries), mobility.MaxOldAddresses)
	case len(e.Redirects) > mobility.MaxOldAddresses:
		return fmt.Errorf("bul: %s: %d redirects, want at most %d", e.ID, len(e.Redirects), mobility.MaxOldAddresses)
	case len(e.Extra) > MaxExtra:
		return fmt.Errorf("bul: %s: %d bytes of extra, want at most %d", e.ID, len(e.Extra), MaxExtra)
	case e.Locator.IsValid() && !plain6(e.Locator):
		return fmt.Errorf("bul: %s: locator %s: want IPv6 without a zone", e.ID, e.Locator)
	case e.Locator4.IsValid() && !e.Locator4.Is4():
		return fmt.Errorf("bul: %s: IPv4 locator %s", e.ID, e.Locator4)
	}
	for i, a := range e.Slots {
		if !a.Is4() && !plain6(a) {
			return fmt.Errorf("bul: %s: slot %d: address %s", e.ID, i, a)
		}
	}
	for i, d := range e.Deliveries {
		if !samePlain(d.Old, d.D) {
			return fmt.Errorf("bul: %s: delivery %d: %s to %s", e.ID, i, d.Old, d.D)
		}
		if d.Flags&untilBit != 0 {
			return fmt.Errorf("bul: %s: delivery %d: flags %#x, bit 7 is not free", e.ID, i, d.Flags)
		}
	}
	for i, p := range e.Redirects {
		if !samePlain(p.Old, p.New) {
			return fmt.Errorf("bul: %s: redirect %d: %s to %s", e.ID, i, p.Old, p.New)
		}
	}
	return nil
}

// validID checks what the key needs; what an identifier may look like is the
// business of those who received it.
func validID(id mobility.VMID) error {
	if n := len(id.Bytes); id.Subtype == mobility.IDInvalid || n == 0 || n > mobility.MaxIDLen {
		return fmt.Errorf("bul: VM identifier of subtype %d and %d bytes", id.Subtype, n)
	}
	return nil
}

func plain6(a netip.Addr) bool { return a.Is6() && !a.Is4In6() && a.Zone() == "" }

func samePlain(a, b netip.Addr) bool { return a.Is4() && b.Is4() || plain6(a) && plain6(b) }

// appendValue appends the value of a valid entry.
func appendValue(b []byte, e *Entry) []byte {
	le := binary.LittleEndian
	start := len(b)
	b = le.AppendUint32(append(b, 0, 0, 0, 0, byte(e.Role)), uint32(e.Epoch))
	fields := uint32(0)
	has := func(field uint32, present bool) bool {
		if present {
			fields |= field
		}
		return present
	}
	if has(fieldFlags, e.Flags != 0) {
		b = le.AppendUint16(b, uint16(e.Flags))
	}
	if has(fieldMAC, !e.MAC.IsZero()) {
		b = append(b, e.MAC[:]...)
	}
	if name := e.Port.bytes(); has(fieldPort, len(name) > 0) {
		b = append(append(b, byte(len(name))), name...)
	}
	if has(fieldLifetime, e.Lifetime != 0) {
		b = le.AppendUint16(b, uint16(e.Lifetime))
	}
	if has(fieldExpires, e.ExpiresAt != 0) {
		b = le.AppendUint64(b, uint64(e.ExpiresAt))
	}
	if has(fieldSent, e.SentAt != 0) {
		b = le.AppendUint64(b, uint64(e.SentAt))
	}
	if has(fieldSequence, e.Sequence != 0) {
		b = le.AppendUint16(b, e.Sequence)
	}
	if has(fieldSlots, len(e.Slots) > 0) {
		b = appendSlots(b, e.Slots)
	}
	if has(fieldDeliveries, len(e.Deliveries) > 0) {
		b = appendDeliveries(b, e.Deliveries)
	}
	if has(fieldRedirects, len(e.Redirects) > 0) {
		b = appendRedirects(b, e.Redirects)
	}
	if has(fieldLocator, e.Locator.IsValid()) {
		b = appendAddr(b, e.Locator)
	}
	if has(fieldLocator4, e.Locator4.IsValid()) {
		b = appendAddr(b, e.Locator4)
	}
	if has(fieldTicket, !e.Ticket.IsZero()) {
		b = append(b, e.Ticket[:]...)
	}
	if m := e.Move; has(fieldMove, m != mobility.MoveOptions{}) {
		b = append(b, byte(m.Mode), byte(m.Addresses), byte(m.Redirect), byte(m.New), byte(m.Phase))
	}
	if has(fieldQuarantine, e.QuarantineUntil != 0) {
		b = le.AppendUint64(b, uint64(e.QuarantineUntil))
	}
	if has(fieldExtra, len(e.Extra) > 0) {
		b = append(le.AppendUint16(b, uint16(len(e.Extra))), e.Extra...)
	}
	le.PutUint32(b[start:], fields)
	return b
}

func appendSlots(b []byte, slots []netip.Addr) []byte {
	b = append(b, byte(len(slots)), 0)
	families := len(b) - 1
	for i, a := range slots {
		if a.Is6() {
			b[families] |= 1 << i
		}
		b = appendAddr(b, a)
	}
	return b
}

func appendDeliveries(b []byte, ds []Delivery) []byte {
	b = append(b, byte(len(ds)), 0, 0)
	families := len(b) - 2
	for i, d := range ds {
		if d.Old.Is6() {
			b[families+i/8] |= 1 << (i % 8)
		}
		b = appendAddr(appendAddr(b, d.Old), d.D)
		if d.Until == 0 {
			b = append(b, byte(d.Flags))
			continue
		}
		b = binary.LittleEndian.AppendUint64(append(b, byte(d.Flags|untilBit)), uint64(d.Until))
	}
	return b
}

func appendRedirects(b []byte, ps []mobility.Pair) []byte {
	b = append(b, byte(len(ps)), 0, 0)
	families := len(b) - 2
	for i, p := range ps {
		if p.Old.Is6() {
			b[families+i/8] |= 1 << (i % 8)
		}
		b = appendAddr(appendAddr(b, p.Old), p.New)
	}
	return b
}

func appendAddr(b []byte, a netip.Addr) []byte {
	if a.Is4() {
		v := a.As4()
		return append(b, v[:]...)
	}
	v := a.As16()
	return append(b, v[:]...)
}
