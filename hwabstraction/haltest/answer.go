package haltest

import (
	"encoding/binary"
	"net/netip"
)

// answer routes a packet of the device's own back to the sender of h.
func (c *card) answer(h header, packet []byte) {
	if packet == nil || h.icmpError() {
		return
	}
	if a, ok := parse(packet); ok {
		c.carry(a, c.decide(a.dst))
	}
}

// ownAddr is the address a Chaos answers from in a family.
func ownAddr(is4 bool) netip.Addr {
	if is4 {
		return HypervisorAddr4.Addr()
	}
	return HypervisorAddr6.Addr()
}

func timeExceeded(h header) []byte {
	if h.is4 {
		return icmpError(h, 11, 0, 0)
	}
	return icmpError(h, 3, 0, 0)
}

func tooBig(h header, mtu uint16) []byte {
	if h.is4 {
		return icmpError(h, 3, 4, uint32(mtu))
	}
	return icmpError(h, 2, 0, uint32(mtu))
}

// reject is a TCP reset, or ICMP administratively prohibited.
func reject(h header) []byte {
	switch {
	case h.proto == protoTCP:
		return reset(h)
	case h.is4:
		return icmpError(h, 3, 13, 0)
	}
	return icmpError(h, 1, 1, 0)
}

// icmpError quotes h (RFC 1812, 4.3.2.3; RFC 4443, 2.4).
func icmpError(h header, kind, code uint8, word uint32) []byte {
	quote := h.b[:min(len(h.b), 1280-48)]
	if h.is4 {
		quote = h.b[:min(len(h.b), 576-28)]
	}
	b := binary.BigEndian.AppendUint32([]byte{kind, code, 0, 0}, word)
	proto := uint8(protoICMPv6)
	if h.is4 {
		proto = protoICMP
	}
	return datagram(ownAddr(h.is4), h.src, proto, 64, append(b, quote...))
}

// reset answers a SYN (RFC 9293, 3.5.2).
func reset(h header) []byte {
	t := h.transport()
	if len(t) < 20 {
		return nil
	}
	r := make([]byte, 20)
	copy(r[0:], t[2:4])
	copy(r[2:], t[0:2])
	binary.BigEndian.PutUint32(r[8:], binary.BigEndian.Uint32(t[4:])+1)
	r[12], r[13] = 5<<4, 0x14
	return datagram(h.dst, h.src, protoTCP, 64, r)
}

// datagram builds an IP packet and fills in the checksums of TCP and ICMP.
func datagram(src, dst netip.Addr, proto, hops uint8, transport []byte) []byte {
	at := 2
	if proto == protoTCP {
		at = 16
	}
	s := sum(0, transport)
	if proto != protoICMP {
		s = sum(sum(s, src.AsSlice()), dst.AsSlice()) + uint32(proto) + uint32(len(transport))
	}
	binary.BigEndian.PutUint16(transport[at:], ^fold(s))
	if src.Is4() {
		b := make([]byte, 20, 20+len(transport))
		b[0], b[8], b[9] = 0x45, hops, proto
		binary.BigEndian.PutUint16(b[2:], uint16(20+len(transport)))
		copy(b[12:], src.AsSlice())
		copy(b[16:], dst.AsSlice())
		binary.BigEndian.PutUint16(b[10:], ^fold(sum(0, b)))
		return append(b, transport...)
	}
	b := make([]byte, 40, 40+len(transport))
	b[0], b[6], b[7] = 0x60, proto, hops
	binary.BigEndian.PutUint16(b[4:], uint16(len(transport)))
	copy(b[8:], src.AsSlice())
	copy(b[24:], dst.AsSlice())
	return append(b, transport...)
}

func ethernet(to, from MAC, packet []byte) []byte {
	proto := uint16(ethIPv6)
	if packet[0]>>4 == 4 {
		proto = ethIPv4
	}
	f := append(append(make([]byte, 0, 14+len(packet)), to[:]...), from[:]...)
	return append(binary.BigEndian.AppendUint16(f, proto), packet...)
}

// arp builds an ARP request (op 1) or reply (op 2) frame.
func arp(op uint16, mac MAC, sender netip.Addr, to MAC, target netip.Addr) []byte {
	eth := to
	if op == 1 {
		eth, to = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, MAC{}
	}
	f := append(append(make([]byte, 0, 60), eth[:]...), mac[:]...)
	f = append(f, 8, 6, 0, 1, 8, 0, 6, 4, byte(op>>8), byte(op))
	f = append(append(f, mac[:]...), sender.AsSlice()...)
	f = append(append(f, to[:]...), target.AsSlice()...)
	return f[:60]
}

// advertisement is a solicited neighbour advertisement (RFC 4861, 4.4).
func advertisement(target, to netip.Addr, mac MAC) []byte {
	b := append([]byte{136, 0, 0, 0, 0xe0, 0, 0, 0}, target.AsSlice()...)
	b = append(append(b, 2, 1), mac[:]...)
	return datagram(target, to, protoICMPv6, 255, b)
}

// solicitation is a neighbour solicitation; from :: it has no option.
func solicitation(src, dst, target netip.Addr, mac MAC) []byte {
	b := append([]byte{135, 0, 0, 0, 0, 0, 0, 0}, target.AsSlice()...)
	if !src.IsUnspecified() {
		b = append(append(b, 1, 1), mac[:]...)
	}
	return datagram(src, dst, protoICMPv6, 255, b)
}
