package wire

import (
	"fmt"
	"net/netip"

	"github.com/dpmip/dpmip/mobility"
)

// AccessTechnology says over what the VM is attached (RFC 5213 section 8.5).
type AccessTechnology uint8

// AccessVirtual is a logical interface: every VM's.
const AccessVirtual AccessTechnology = 1

func (a AccessTechnology) String() string {
	if a == AccessVirtual {
		return "virtual"
	}
	return fmt.Sprintf("technology %d", uint8(a))
}

// HandoffIndicator gives the Handoff Indicator option (RFC 5213 section 8.4):
// why the Request is sent. No alignment.
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|   Type = 23   |   Length = 2  |   Reserved    |       HI      |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
func (m *Message) HandoffIndicator() (mobility.HandoffIndicator, bool) {
	d, ok := m.Raw(OptHandoffIndicator)
	if !ok {
		return mobility.HandoffReserved, false
	}
	return mobility.HandoffIndicator(d[1]), true
}

// AddHandoffIndicator adds the Handoff Indicator option.
func (m *Message) AddHandoffIndicator(h mobility.HandoffIndicator) {
	m.add(OptHandoffIndicator, 2)[1] = byte(h)
}

// AccessTechnology gives the Access Technology Type option (RFC 5213 section
// 8.5). No alignment.
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|   Type = 24   |   Length = 2  |   Reserved    |      ATT      |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
func (m *Message) AccessTechnology() (AccessTechnology, bool) {
	d, ok := m.Raw(OptAccessTechnology)
	if !ok {
		return 0, false
	}
	return AccessTechnology(d[1]), true
}

// AddAccessTechnology adds the Access Technology Type option.
func (m *Message) AddAccessTechnology(a AccessTechnology) {
	m.add(OptAccessTechnology, 2)[1] = byte(a)
}

// LinkLayerID gives the VM Link-Layer Identifier option (RFC 5213 section 8.6)
// if it holds a 48-bit MAC; Raw gives any other. Alignment 8n.
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|   Type = 25   |  Length = 2+n |           Reserved            |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|   Link-layer identifier, n bytes ...
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
func (m *Message) LinkLayerID() (mobility.MAC, bool) {
	d, ok := m.Raw(OptLinkLayerID)
	if !ok || len(d) != 2+6 {
		return mobility.MAC{}, false
	}
	return mobility.MAC(d[2:]), true
}

// AddLinkLayerID adds the VM Link-Layer Identifier option.
func (m *Message) AddLinkLayerID(mac mobility.MAC) {
	copy(m.add(OptLinkLayerID, 2+len(mac))[2:], mac[:])
}

// LinkLocal gives the Link-local Address option (RFC 5213 section 8.7), the
// hypervisor's address on the link to the VM. Alignment 8n+6.
//
//	                                +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	                                |   Type = 26   |  Length = 16  |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	.                      Link-local Address                       .
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
func (m *Message) LinkLocal() (netip.Addr, bool) {
	d, ok := m.Raw(OptLinkLocal)
	if !ok {
		return netip.Addr{}, false
	}
	return netip.AddrFrom16([16]byte(d[:16])), true
}

// AddLinkLocal adds the Link-local Address option.
func (m *Message) AddLinkLocal(a netip.Addr) {
	if !a.Is6() {
		m.refuse(OptLinkLocal, a.String()+" is not an IPv6 address")
		return
	}
	b := a.As16()
	copy(m.add(OptLinkLocal, 16), b[:])
}
