package haltest

import (
	"encoding/binary"
	"net/netip"

	"github.com/dpmip/dpmip/hwabstraction"
)

// Protocol numbers that a Chaos knows.
const (
	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58
)

// header is a view of an IP packet. Writes go to the packet itself.
type header struct {
	b        []byte
	is4      bool
	proto    uint8 // of the transport header
	at       int   // where the transport header begins
	src, dst netip.Addr
	fragment uint32 // identification
	first    bool   // the transport header is here
	whole    bool   // not a fragment
}

// fragment names a datagram whose pieces follow one verdict.
type fragment struct {
	src, dst netip.Addr
	proto    uint8
	id       uint32
}

// tuple is a flow from the VM's side.
type tuple struct {
	proto    uint8
	vm, peer hwabstraction.Endpoint
}

// parse reads the headers of an IP packet; false where it is none.
func parse(b []byte) (header, bool) {
	if len(b) == 0 {
		return header{}, false
	}
	switch b[0] >> 4 {
	case 4:
		return parse4(b)
	case 6:
		return parse6(b)
	}
	return header{}, false
}

func parse4(b []byte) (header, bool) {
	if len(b) < 20 {
		return header{}, false
	}
	length, hl := int(binary.BigEndian.Uint16(b[2:])), int(b[0]&15)*4
	if hl < 20 || length < hl || length > len(b) {
		return header{}, false
	}
	off := binary.BigEndian.Uint16(b[6:])
	h := header{
		b: b[:length], is4: true, proto: b[9], at: hl,
		src: netip.AddrFrom4([4]byte(b[12:16])), dst: netip.AddrFrom4([4]byte(b[16:20])),
		fragment: uint32(binary.BigEndian.Uint16(b[4:])),
		first:    off&0x1fff == 0, whole: off&0x3fff == 0,
	}
	return h, true
}

func parse6(b []byte) (header, bool) {
	if len(b) < 40 || len(b) < 40+int(binary.BigEndian.Uint16(b[4:])) {
		return header{}, false
	}
	h := header{
		b: b[:40+int(binary.BigEndian.Uint16(b[4:]))], proto: b[6], at: 40, first: true, whole: true,
		src: netip.AddrFrom16([16]byte(b[8:24])), dst: netip.AddrFrom16([16]byte(b[24:40])),
	}
	for h.first && h.at+8 <= len(h.b) {
		x := h.b[h.at:]
		switch h.proto {
		case 0, 43, 60: // hop-by-hop, routing, destination options
			h.proto, h.at = x[0], h.at+8*(1+int(x[1]))
		case 44:
			off := binary.BigEndian.Uint16(x[2:])
			h.proto, h.at = x[0], h.at+8
			h.fragment, h.first, h.whole = binary.BigEndian.Uint32(x[4:]), off>>3 == 0, off&0xfff9 == 0
		default:
			return h, true
		}
	}
	return h, true
}

// transport is what follows the IP headers; empty in later fragments.
func (h header) transport() []byte {
	if !h.first || h.at > len(h.b) {
		return nil
	}
	return h.b[h.at:]
}

func (h header) hopLimit() uint8 {
	if h.is4 {
		return h.b[8]
	}
	return h.b[7]
}

// hop decrements the hop limit.
func (h header) hop() {
	if !h.is4 {
		h.b[7]--
		return
	}
	old := [2]byte{h.b[8], h.b[9]}
	h.b[8]--
	adjust(h.b[10:], old[:], h.b[8:10])
}

// rewrite sets the destination and mends the checksums (RFC 1624).
func (h *header) rewrite(to netip.Addr) {
	from, end := 24, 40
	if h.is4 {
		from, end = 16, 20
	}
	field := h.b[from:end]
	old := append([]byte(nil), field...)
	copy(field, to.AsSlice())
	h.dst = to
	if h.is4 {
		adjust(h.b[10:], old, field)
	}
	t := h.transport()
	switch {
	case h.proto == protoTCP && len(t) >= 18:
		adjust(t[16:], old, field)
	case h.proto == protoICMPv6 && len(t) >= 4:
		adjust(t[2:], old, field)
	case h.proto == protoUDP && len(t) >= 8 && (t[6] != 0 || t[7] != 0):
		adjust(t[6:], old, field)
		if t[6] == 0 && t[7] == 0 {
			t[6], t[7] = 0xff, 0xff
		}
	}
}

// adjust mends a checksum of which old has become new, both of even length.
func adjust(check, old, new []byte) {
	s := uint32(^binary.BigEndian.Uint16(check))
	for i := 0; i < len(old); i += 2 {
		s += uint32(^binary.BigEndian.Uint16(old[i:]))
	}
	binary.BigEndian.PutUint16(check, ^fold(sum(s, new)))
}

func (h header) fragmentKey() fragment { return fragment{h.src, h.dst, h.proto, h.fragment} }

// dstPort is the destination port of TCP or UDP.
func (h header) dstPort() (uint16, bool) {
	if h.proto != protoTCP && h.proto != protoUDP {
		return 0, false
	}
	_, port, ok := h.ports()
	return port, ok
}

// ports are the transport's ports, or the identifier of an ICMP echo twice.
func (h header) ports() (src, dst uint16, ok bool) {
	t := h.transport()
	switch {
	case (h.proto == protoTCP || h.proto == protoUDP) && len(t) >= 8:
		return binary.BigEndian.Uint16(t), binary.BigEndian.Uint16(t[2:]), true
	case (h.proto == protoICMP || h.proto == protoICMPv6) && len(t) >= 8 && !h.icmpError():
		id := binary.BigEndian.Uint16(t[4:])
		return id, id, true
	}
	return 0, 0, false
}

// icmpError tells whether the packet is an ICMP error.
func (h header) icmpError() bool {
	t := h.transport()
	switch {
	case h.proto == protoICMP && len(t) >= 8:
		return t[0] == 3 || t[0] == 11 || t[0] == 12
	case h.proto == protoICMPv6 && len(t) >= 8:
		return t[0] < 128
	}
	return false
}

// toVM is the flow of a packet on its way to a VM, fromVM of one from it.
func (h header) toVM() (tuple, bool) {
	s, d, ok := h.ports()
	return tuple{h.proto, hwabstraction.Endpoint{Addr: h.dst, Port: d}, hwabstraction.Endpoint{Addr: h.src, Port: s}}, ok
}

func (h header) fromVM() (tuple, bool) {
	s, d, ok := h.ports()
	return tuple{h.proto, hwabstraction.Endpoint{Addr: h.src, Port: s}, hwabstraction.Endpoint{Addr: h.dst, Port: d}}, ok
}
