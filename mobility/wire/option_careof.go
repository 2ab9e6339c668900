package wire

import "net/netip"

// AlternateCareOf gives the Alternate Care-of Address option (RFC 6275 section
// 6.2.5): a hypervisor's locator. An IPv4 locator travels mapped
// (::ffff:a.b.c.d) and is given as an IPv4 address. Alignment 8n+6.
//
//	                                +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	                                |   Type = 3    |  Length = 16  |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	.                    Alternate Care-of Address                  .
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
func (m *Message) AlternateCareOf() (netip.Addr, bool) {
	d, ok := m.Raw(OptAlternateCareOf)
	if !ok {
		return netip.Addr{}, false
	}
	return netip.AddrFrom16([16]byte(d[:16])).Unmap(), true
}

// AddAlternateCareOf adds the Alternate Care-of Address option with a locator of
// either family.
func (m *Message) AddAlternateCareOf(a netip.Addr) {
	if !a.IsValid() {
		m.refuse(OptAlternateCareOf, "no address")
		return
	}
	b := a.As16()
	copy(m.add(OptAlternateCareOf, 16), b[:])
}
