package wire

import (
	"encoding/binary"
	"net/netip"

	"github.com/dpmip/dpmip/mobility"
)

// VMAddress is one VM Address or VM IPv4 Address option.
//
// VM Address (RFC 5213 section 8.3, Home Network Prefix), alignment 8n+4:
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|   Type = 22   |  Length = 18  |   Reserved    | Prefix Length |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	.                       Address, 16 bytes                       .
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//
// VM IPv4 Address (RFC 5844 section 3.1.1, IPv4 Home Address Request),
// alignment 4n; the prefix length is in the top 6 bits:
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|   Type = 36   |   Length = 6  |Prefix-len |      Reserved     |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                         IPv4 Address                          |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type VMAddress struct {
	Addr netip.Addr
	Bits uint8 // prefix length as sent
}

// IsHost reports whether the prefix length is the full one, 128 or 32; any
// other one answers a Request with status 141.
func (a VMAddress) IsHost() bool { return int(a.Bits) == a.Addr.BitLen() }

// HostAddress gives the VMAddress of a whole address.
func HostAddress(a netip.Addr) VMAddress { return VMAddress{Addr: a, Bits: uint8(a.BitLen())} }

// AppendAddresses adds the VM's addresses to dst in the order of the slots: the
// VM Address options first, then the VM IPv4 Address options, each in theirs.
func (m *Message) AppendAddresses(dst []VMAddress) []VMAddress {
	for _, s := range m.spans {
		if s.typ == OptVMAddress {
			dst = append(dst, vmAddress6(m.data(s)))
		}
	}
	if !m.has(OptVMIPv4Address) {
		return dst
	}
	for _, s := range m.spans {
		if s.typ == OptVMIPv4Address {
			dst = append(dst, vmAddress4(m.data(s)))
		}
	}
	return dst
}

// AppendPairs reads the addresses as pairs (old, new), those of IPv6 first. It
// is false, and dst unchanged, when a family has an odd number. Prefix lengths
// are not looked at; see AppendAddresses. That the message is one that carries
// pairs, a Request of the management node, only its reader can know.
func (m *Message) AppendPairs(dst []mobility.Pair) ([]mobility.Pair, bool) {
	out, ok := m.appendPairs(dst, OptVMAddress)
	if !ok {
		return dst, false
	}
	if out, ok = m.appendPairs(out, OptVMIPv4Address); !ok {
		return dst, false
	}
	return out, true
}

func (m *Message) appendPairs(dst []mobility.Pair, t OptionType) ([]mobility.Pair, bool) {
	if !m.has(t) {
		return dst, true
	}
	var old netip.Addr
	for _, s := range m.spans {
		if s.typ != t {
			continue
		}
		var a netip.Addr
		if t == OptVMAddress {
			a = vmAddress6(m.data(s)).Addr
		} else {
			a = vmAddress4(m.data(s)).Addr
		}
		if !old.IsValid() {
			old = a
			continue
		}
		dst = append(dst, mobility.Pair{Old: old, New: a})
		old = netip.Addr{}
	}
	return dst, !old.IsValid()
}

func vmAddress6(d []byte) VMAddress {
	return VMAddress{Addr: netip.AddrFrom16([16]byte(d[2:18])), Bits: d[1]}
}

func vmAddress4(d []byte) VMAddress {
	return VMAddress{Addr: netip.AddrFrom4([4]byte(d[2:6])), Bits: d[0] >> 2}
}

// AddAddress adds one address of the VM, whole, as the option of its family.
func (m *Message) AddAddress(a netip.Addr) { m.AddVMAddress(HostAddress(a)) }

// AddVMAddress adds one address of the VM with any prefix length. Addresses that
// are mapped or have a zone are refused.
func (m *Message) AddVMAddress(a VMAddress) {
	switch {
	case a.Addr.Is4() && a.Bits < 64:
		d := m.add(OptVMIPv4Address, 6)
		binary.BigEndian.PutUint16(d, uint16(a.Bits)<<10)
		b := a.Addr.As4()
		copy(d[2:], b[:])
	case a.Addr.Is6() && !a.Addr.Is4In6() && a.Addr.Zone() == "":
		d := m.add(OptVMAddress, 18)
		d[1] = a.Bits
		b := a.Addr.As16()
		copy(d[2:], b[:])
	case a.Addr.Is4():
		m.refuse(OptVMIPv4Address, "prefix length above 63")
	default:
		m.refuse(OptVMAddress, "bad address "+a.Addr.String())
	}
}

// AddPair adds old and new address of a pair, in this order.
func (m *Message) AddPair(p mobility.Pair) {
	if p.Old.Is4() != p.New.Is4() {
		m.refuse(OptVMAddress, "pair of two families: "+p.Old.String()+", "+p.New.String())
		return
	}
	m.AddAddress(p.Old)
	m.AddAddress(p.New)
}

// DefaultRouter gives the VM Default Router Address option (RFC 5844 section
// 3.1.3): the hypervisor's IPv4 locator. Alignment 4n.
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|   Type = 38   |   Length = 6  |           Reserved            |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                         IPv4 Address                          |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
func (m *Message) DefaultRouter() (netip.Addr, bool) {
	d, ok := m.Raw(OptDefaultRouter)
	if !ok {
		return netip.Addr{}, false
	}
	return netip.AddrFrom4([4]byte(d[2:6])), true
}

// AddDefaultRouter adds the VM Default Router Address option with an IPv4
// address.
func (m *Message) AddDefaultRouter(a netip.Addr) {
	if !a.Is4() {
		m.refuse(OptDefaultRouter, a.String()+" is not an IPv4 address")
		return
	}
	b := a.As4()
	copy(m.add(OptDefaultRouter, 6)[2:], b[:])
}
