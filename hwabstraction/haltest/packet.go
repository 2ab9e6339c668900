package haltest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// spec is a packet of a test. Zero fields are filled in: hop limit 64, ports
// 4000 to 5000.
type spec struct {
	src, dst     netip.Addr
	proto        uint8 // UDP where zero
	sport, dport uint16
	syn, ack     bool // TCP
	hops         uint8
	dontFragment bool // IPv4
	noChecksum   bool // UDP
	body         []byte
}

// body is what a test knows its packet by, filled up to size bytes.
func body(i, size int) []byte {
	b := fmt.Appendf(make([]byte, 0, max(size, 16)), "dpmip-%09d;", i)
	for len(b) < size {
		b = append(b, byte(len(b)))
	}
	return b
}

// number reads the i of body from a frame that carries one; -1 where none.
func number(frame []byte) int {
	at := bytes.Index(frame, []byte("dpmip-"))
	i := -1
	if at < 0 {
		return i
	}
	if _, err := fmt.Sscanf(string(frame[at:min(len(frame), at+16)]), "dpmip-%09d;", &i); err != nil {
		return -1
	}
	return i
}

// build makes the IP packet of a spec.
func build(t testing.TB, p spec) []byte {
	t.Helper()
	if p.proto == 0 {
		p.proto = protoUDP
	}
	if p.hops == 0 {
		p.hops = 64
	}
	if p.sport == 0 && p.dport == 0 {
		p.sport, p.dport = 4000, 5000
	}
	ip := p.network()
	var stack []gopacket.SerializableLayer
	switch l := p.transport(t, ip).(type) {
	case nil:
		stack = []gopacket.SerializableLayer{ip.(gopacket.SerializableLayer)}
	default:
		stack = []gopacket.SerializableLayer{ip.(gopacket.SerializableLayer), l}
		if p.proto == protoICMPv6 {
			stack = append(stack, &layers.ICMPv6Echo{Identifier: p.sport, SeqNumber: p.dport})
		}
	}
	stack = append(stack, gopacket.Payload(p.body))
	buf := gopacket.NewSerializeBuffer()
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buf, opts, stack...); err != nil {
		t.Fatalf("build %+v: %v", p, err)
	}
	b := bytes.Clone(buf.Bytes())
	if p.noChecksum {
		h, _ := parse(b)
		h.transport()[6], h.transport()[7] = 0, 0
	}
	return b
}

func (p spec) network() gopacket.NetworkLayer {
	if p.src.Is4() {
		ip := &layers.IPv4{
			Version: 4, IHL: 5, TTL: p.hops, Id: 7, Protocol: layers.IPProtocol(p.proto),
			SrcIP: p.src.AsSlice(), DstIP: p.dst.AsSlice(),
		}
		if p.dontFragment {
			ip.Flags = layers.IPv4DontFragment
		}
		return ip
	}
	return &layers.IPv6{
		Version: 6, HopLimit: p.hops, NextHeader: layers.IPProtocol(p.proto),
		SrcIP: p.src.AsSlice(), DstIP: p.dst.AsSlice(),
	}
}

// transport is the layer above ip; nil where the body is all there is.
func (p spec) transport(t testing.TB, ip gopacket.NetworkLayer) gopacket.SerializableLayer {
	t.Helper()
	switch p.proto {
	case protoUDP:
		u := &layers.UDP{SrcPort: layers.UDPPort(p.sport), DstPort: layers.UDPPort(p.dport)}
		if err := u.SetNetworkLayerForChecksum(ip); err != nil {
			t.Fatal(err)
		}
		return u
	case protoTCP:
		c := &layers.TCP{
			SrcPort: layers.TCPPort(p.sport), DstPort: layers.TCPPort(p.dport),
			SYN: p.syn, ACK: p.ack, Seq: 1000, Window: 8192,
		}
		if err := c.SetNetworkLayerForChecksum(ip); err != nil {
			t.Fatal(err)
		}
		return c
	case protoICMP:
		return &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoRequest, 0), Id: p.sport, Seq: p.dport}
	case protoICMPv6:
		m := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeEchoRequest, 0)}
		if err := m.SetNetworkLayerForChecksum(ip); err != nil {
			t.Fatal(err)
		}
		return m
	}
	return nil
}

// ip reads the IP packet of a frame; false where it is none.
func ip(frame []byte) (header, bool) {
	if len(frame) < 34 {
		return header{}, false
	}
	return parse(frame[14:])
}

// verify checks every checksum of a whole packet by computing it anew.
func verify(h header) error {
	if h.is4 && fold(sum(0, h.b[:h.at4()])) != 0xffff {
		return fmt.Errorf("IPv4 header checksum is wrong")
	}
	if !h.whole {
		return nil
	}
	t := h.transport()
	s := sum(0, t)
	if h.proto != protoICMP {
		s = sum(sum(s, h.src.AsSlice()), h.dst.AsSlice()) + uint32(h.proto) + uint32(len(t))
	}
	if h.proto == protoUDP && h.is4 && binary.BigEndian.Uint16(t[6:]) == 0 {
		return nil
	}
	if fold(s) != 0xffff {
		return fmt.Errorf("checksum of protocol %d is wrong", h.proto)
	}
	return nil
}

func (h header) at4() int { return int(h.b[0]&15) * 4 }

// split cuts an IP packet into fragments whose transport parts have at most
// size bytes, a multiple of 8.
func split(b []byte, size int) [][]byte {
	h, _ := parse(b)
	t := h.transport()
	var out [][]byte
	for off := 0; off < len(t); off += size {
		part := t[off:min(off+size, len(t))]
		more := off+size < len(t)
		out = append(out, h.piece(part, off, more))
	}
	return out
}

// piece is one fragment (RFC 791, 3.2; RFC 8200, 4.5).
func (h header) piece(part []byte, off int, more bool) []byte {
	field := uint16(off)
	if h.is4 {
		field = uint16(off / 8)
		if more {
			field |= 0x2000
		}
		p := append(bytes.Clone(h.b[:h.at]), part...)
		binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
		binary.BigEndian.PutUint16(p[4:], 0x4242)
		binary.BigEndian.PutUint16(p[6:], field)
		p[10], p[11] = 0, 0
		binary.BigEndian.PutUint16(p[10:], ^fold(sum(0, p[:h.at])))
		return p
	}
	if more {
		field |= 1
	}
	p := bytes.Clone(h.b[:40])
	p[6] = 44
	p = append(p, h.proto, 0, byte(field>>8), byte(field), 0, 0, 0x42, 0x42)
	p = append(p, part...)
	binary.BigEndian.PutUint16(p[4:], uint16(len(p)-40))
	return p
}

// join puts fragments of one datagram together again, in order.
func join(parts []header) header {
	var t []byte
	for _, p := range parts {
		t = append(t, p.b[p.at:]...)
	}
	first := parts[0]
	b := bytes.Clone(first.b[:40])
	if first.is4 {
		b = bytes.Clone(first.b[:first.at])
		b[6], b[7] = 0, 0
		b[10], b[11] = 0, 0
		b = append(b, t...)
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		binary.BigEndian.PutUint16(b[10:], ^fold(sum(0, b[:first.at])))
	} else {
		b[6] = first.proto
		b = append(b, t...)
		binary.BigEndian.PutUint16(b[4:], uint16(len(t)))
	}
	h, _ := parse(b)
	return h
}

func addr4(b []byte) netip.Addr { return netip.AddrFrom4([4]byte(b)) }

// quote is the destination of the packet that an ICMP error quotes.
func quote(b []byte) (netip.Addr, bool) {
	switch {
	case len(b) >= 20 && b[0]>>4 == 4:
		return addr4(b[16:20]), true
	case len(b) >= 40 && b[0]>>4 == 6:
		return netip.AddrFrom16([16]byte(b[24:40])), true
	}
	return netip.Addr{}, false
}

// asks tells whether a frame asks for the MAC of an address.
func asks(f []byte, a netip.Addr) bool {
	if len(f) >= 42 && binary.BigEndian.Uint16(f[12:]) == ethARP {
		return f[21] == 1 && bytes.Equal(f[38:42], a.AsSlice())
	}
	h, ok := ip(f)
	t := h.transport()
	return ok && h.proto == protoICMPv6 && len(t) >= 24 && t[0] == 135 && bytes.Equal(t[8:24], a.AsSlice())
}
