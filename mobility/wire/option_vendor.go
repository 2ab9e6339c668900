package wire

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/dpmip/dpmip/mobility"
)

// DefaultEnterprise is the enterprise number of our vendor options unless
// Message.Enterprise says otherwise: the one for documentation (RFC 5612).
const DefaultEnterprise = 32473

// VendorSubtype tells our vendor options apart.
type VendorSubtype uint8

// Our vendor options (protocol profile section 5).
const (
	VendorTicket    VendorSubtype = 1
	VendorEpoch     VendorSubtype = 2
	VendorMove      VendorSubtype = 3
	VendorDelivery6 VendorSubtype = 4
	VendorDelivery4 VendorSubtype = 5
	VendorNonce     VendorSubtype = 6
	VendorSlotCount VendorSubtype = 7
)

const vendorHeadLen = 5 // enterprise and subtype

var vendorTable = [8]struct {
	name string
	min  uint8 // least length behind the subtype, in bytes
}{
	VendorTicket:    {"ticket", 16},
	VendorEpoch:     {"epoch", 4},
	VendorMove:      {"move", 5},
	VendorDelivery6: {"delivery", 32},
	VendorDelivery4: {"IPv4 delivery", 8},
	VendorNonce:     {"nonce", 8},
	VendorSlotCount: {"slot count", 2},
}

func (v VendorSubtype) String() string {
	if int(v) < len(vendorTable) && vendorTable[v].name != "" {
		return vendorTable[v].name
	}
	return fmt.Sprintf("vendor subtype %d", uint8(v))
}

// Vendor is one Vendor Specific option (RFC 5094 section 3), ours or not.
// Alignment 4n+2.
//
//	                                +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	                                |   Type = 19   | Length = 5+n  |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                       Enterprise number                       |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|    Subtype    |   Data, n bytes ...
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//
// Ours carry, in this order: 1 ticket, 16 bytes; 2 epoch, u32; 3 mode,
// addresses, redirect, new connections, phase, a byte each; 4 and 5 old address,
// delivery address; 6 nonce, 8 bytes; 7 slots of IPv6, slots of IPv4, a byte
// each. One that is shorter makes the message invalid.
type Vendor struct {
	Enterprise uint32
	Subtype    VendorSubtype
	Data       []byte // a view into the message when read
}

// ParseVendor splits the data of a Vendor option. It is false for another
// option, or one too short.
func ParseVendor(o Option) (Vendor, bool) {
	if o.Type != OptVendor || len(o.Data) < vendorHeadLen {
		return Vendor{}, false
	}
	return Vendor{
		Enterprise: binary.BigEndian.Uint32(o.Data),
		Subtype:    VendorSubtype(o.Data[4]),
		Data:       o.Data[vendorHeadLen:],
	}, true
}

// AddVendor adds any vendor option as it is. One of ours that is too short is
// refused.
func (m *Message) AddVendor(v Vendor) {
	n := vendorHeadLen + len(v.Data)
	if n > 255 {
		m.refuse(OptVendor, "vendor data too long")
		return
	}
	if want := m.vendorMin(v.Enterprise, v.Subtype); n < want && m.err == nil {
		m.err = m.optionError(KindOptionShort, OptVendor, len(m.buf), n, want)
	}
	copy(m.addVendor(v.Enterprise, v.Subtype, len(v.Data)), v.Data)
}

func (m *Message) addVendor(enterprise uint32, v VendorSubtype, n int) []byte {
	d := m.add(OptVendor, vendorHeadLen+n)
	binary.BigEndian.PutUint32(d, enterprise)
	d[4] = byte(v)
	return d[vendorHeadLen:]
}

func (m *Message) enterprise() uint32 {
	if m.Enterprise == 0 {
		return DefaultEnterprise
	}
	return m.Enterprise
}

// vendorMin is the least length of the data of a vendor option.
func (m *Message) vendorMin(enterprise uint32, v VendorSubtype) int {
	if enterprise == m.enterprise() && int(v) < len(vendorTable) {
		return vendorHeadLen + int(vendorTable[v].min)
	}
	return vendorHeadLen
}

// ours gives what is behind the subtype of a span that is our vendor option v.
func (m *Message) ours(s span, v VendorSubtype) ([]byte, bool) {
	if s.typ != OptVendor {
		return nil, false
	}
	d := m.data(s)
	// Neither Parse nor an Add method lets one of ours in that is too short;
	// the length matters when Enterprise was changed in between.
	if VendorSubtype(d[4]) != v || binary.BigEndian.Uint32(d) != m.enterprise() || len(d) < m.vendorMin(m.enterprise(), v) {
		return nil, false
	}
	return d[vendorHeadLen:], true
}

// firstVendor gives the data of the first of our vendor options v.
func (m *Message) firstVendor(v VendorSubtype) ([]byte, bool) {
	if !m.has(OptVendor) {
		return nil, false
	}
	for _, s := range m.spans {
		if d, ok := m.ours(s, v); ok {
			return d, true
		}
	}
	return nil, false
}

// Ticket gives vendor option 1: what authorises a move.
func (m *Message) Ticket() (mobility.Ticket, bool) {
	d, ok := m.firstVendor(VendorTicket)
	if !ok {
		return mobility.Ticket{}, false
	}
	return mobility.Ticket(d[:16]), true
}

// AddTicket adds vendor option 1.
func (m *Message) AddTicket(t mobility.Ticket) {
	copy(m.addVendor(m.enterprise(), VendorTicket, len(t)), t[:])
}

// Epoch gives vendor option 2. 0 is not a valid epoch, and is given as it is.
func (m *Message) Epoch() (mobility.Epoch, bool) {
	d, ok := m.firstVendor(VendorEpoch)
	if !ok {
		return 0, false
	}
	return mobility.Epoch(binary.BigEndian.Uint32(d)), true
}

// AddEpoch adds vendor option 2.
func (m *Message) AddEpoch(e mobility.Epoch) {
	binary.BigEndian.PutUint32(m.addVendor(m.enterprise(), VendorEpoch, 4), uint32(e))
}

// Move gives vendor option 3, the values as they are; see
// mobility.MoveOptions.Validate.
func (m *Message) Move() (mobility.MoveOptions, bool) {
	d, ok := m.firstVendor(VendorMove)
	if !ok {
		return mobility.MoveOptions{}, false
	}
	return mobility.MoveOptions{
		Mode:      mobility.Mode(d[0]),
		Addresses: mobility.Addressing(d[1]),
		Redirect:  mobility.RedirectMode(d[2]),
		New:       mobility.NewConnections(d[3]),
		Phase:     mobility.Phase(d[4]),
	}, true
}

// AddMove adds vendor option 3.
func (m *Message) AddMove(o mobility.MoveOptions) {
	d := m.addVendor(m.enterprise(), VendorMove, 5)
	d[0], d[1], d[2], d[3], d[4] = byte(o.Mode), byte(o.Addresses), byte(o.Redirect), byte(o.New), byte(o.Phase)
}

// AppendDeliveries adds every delivery (vendor options 4 and 5, in the order of
// the message) to dst.
func (m *Message) AppendDeliveries(dst []mobility.Delivery) []mobility.Delivery {
	for _, s := range m.spans {
		if d, ok := m.ours(s, VendorDelivery6); ok {
			dst = append(dst, mobility.Delivery{
				Old: netip.AddrFrom16([16]byte(d[:16])), D: netip.AddrFrom16([16]byte(d[16:32])),
			})
		} else if d, ok := m.ours(s, VendorDelivery4); ok {
			dst = append(dst, mobility.Delivery{
				Old: netip.AddrFrom4([4]byte(d[:4])), D: netip.AddrFrom4([4]byte(d[4:8])),
			})
		}
	}
	return dst
}

// AddDelivery adds vendor option 4 or 5, by the family of the addresses.
func (m *Message) AddDelivery(d mobility.Delivery) {
	switch {
	case d.Old.Is4() && d.D.Is4():
		old, to := d.Old.As4(), d.D.As4()
		b := m.addVendor(m.enterprise(), VendorDelivery4, 8)
		copy(b, old[:])
		copy(b[4:], to[:])
	case d.Old.Is6() && d.D.Is6():
		old, to := d.Old.As16(), d.D.As16()
		b := m.addVendor(m.enterprise(), VendorDelivery6, 32)
		copy(b, old[:])
		copy(b[16:], to[:])
	default:
		m.refuse(OptVendor, "delivery of two families: "+d.Old.String()+", "+d.D.String())
	}
}

// Nonce gives vendor option 6; the answer to the message repeats it.
func (m *Message) Nonce() (mobility.Nonce, bool) {
	d, ok := m.firstVendor(VendorNonce)
	if !ok {
		return mobility.Nonce{}, false
	}
	return mobility.Nonce(d[:8]), true
}

// AddNonce adds vendor option 6.
func (m *Message) AddNonce(n mobility.Nonce) {
	copy(m.addVendor(m.enterprise(), VendorNonce, len(n)), n[:])
}

// SlotCount gives vendor option 7: how many of the pairs are current slots.
// Without it all are.
func (m *Message) SlotCount() (mobility.SlotCount, bool) {
	d, ok := m.firstVendor(VendorSlotCount)
	if !ok {
		return mobility.SlotCount{}, false
	}
	return mobility.SlotCount{V6: d[0], V4: d[1]}, true
}

// AddSlotCount adds vendor option 7.
func (m *Message) AddSlotCount(c mobility.SlotCount) {
	d := m.addVendor(m.enterprise(), VendorSlotCount, 2)
	d[0], d[1] = c.V6, c.V4
}
