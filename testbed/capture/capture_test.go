package capture

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/dpmip/dpmip/mobility/wire"
)

// registration is a Request of hypervisor A, as in the protocol's vectors.
const registration = "3b0a05002e4b00018200038408130800046ba7b8109dad11d180b400c04fd430c80101001612008020010db8000a010000000000000000421702000118020001190800005254001234561b08000053724e00800001020000"

var (
	a6, b6 = netip.MustParseAddr("2001:db8:a::1"), netip.MustParseAddr("2001:db8:ff::1")
	a4, b4 = netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("192.0.2.10")
)

func ethernet(etherType uint16, rest ...byte) []byte {
	return append(binary.BigEndian.AppendUint16(make([]byte, 12), etherType), rest...)
}

func packet6(next byte, payload ...byte) []byte {
	b := append([]byte{0x60, 0, 0, 0}, byte(len(payload)>>8), byte(len(payload)), next, 60)
	b = append(append(b, a6.AsSlice()...), b6.AsSlice()...)
	return ethernet(etherIPv6, append(b, payload...)...)
}

func packet4(proto byte, offset uint16, payload ...byte) []byte {
	b := []byte{0x45, 0, 0, byte(20 + len(payload)), 0, 0, byte(offset >> 8), byte(offset), 61, proto, 0, 0}
	b = append(append(b, a4.AsSlice()...), b4.AsSlice()...)
	return ethernet(etherIPv4, append(b, payload...)...)
}

func udp(src, dst uint16) []byte {
	return append(binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, src), dst), 0, 8, 0, 0)
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name  string
		data  []byte
		ports [2]uint16
		extra string
	}{
		{"UDP over IPv6", packet6(17, udp(1, 7000)...), [2]uint16{1, 7000}, ""},
		{"UDP over IPv4", packet4(17, 0, udp(1, 7000)...), [2]uint16{1, 7000}, ""},
		{"later fragment IPv4", packet4(17, 185, udp(1, 7000)...), [2]uint16{}, ""},
		{"first fragment IPv6", packet6(44, append([]byte{17, 0, 0, 1, 0, 0, 0, 0}, udp(1, 7000)...)...), [2]uint16{1, 7000}, ""},
		{"later fragment IPv6", packet6(44, append([]byte{17, 0, 5, 0xa8, 0, 0, 0, 0}, udp(1, 7000)...)...), [2]uint16{}, ""},
		{"MLD", packet6(0, 58, 0, 5, 2, 0, 0, 1, 0, 143, 0, 0, 0), [2]uint16{}, ""},
		{"ARP", ethernet(etherARP, 0, 1), [2]uint16{}, ""},
		{"signalling", packet6(135, 59, 0, 5, 0, 0, 0, 0, 0), [2]uint16{}, ""},
		{"IPv6 in IPv6", packet6(41, packet6(17)[14:]...), [2]uint16{}, "IPv6 next header 41"},
		{"IPv4 in IPv6", packet6(4), [2]uint16{}, "IPv6 next header 4"},
		{"segment routing", packet6(43, 17, 2, 4, 0), [2]uint16{}, "IPv6 next header 43"},
		{"destination options", packet6(60, 17, 0), [2]uint16{}, "IPv6 next header 60"},
		{"GRE behind a fragment", packet6(44, 47, 0, 0, 1, 0, 0, 0, 0), [2]uint16{}, "IPv6 next header 47"},
		{"hop-by-hop before UDP", packet6(0, append([]byte{17, 0, 0, 0, 0, 0, 0, 0}, udp(1, 2)...)...), [2]uint16{1, 2}, "hop-by-hop options"},
		{"IPIP", packet4(4, 0), [2]uint16{}, "IPv4 protocol 4"},
		{"ESP", packet4(50, 0), [2]uint16{}, "IPv4 protocol 50"},
		{"GRE", packet4(47, 0), [2]uint16{}, "IPv4 protocol 47"},
		{"VXLAN", packet4(17, 0, udp(1, 4789)...), [2]uint16{1, 4789}, "UDP port 4789 (VXLAN)"},
		{"MPLS", ethernet(0x8847), [2]uint16{}, "ethertype 0x8847"},
		{"IS-IS", ethernet(33, 0xfe, 0xfe, 0x03, 0x83, 0x1b), [2]uint16{}, ""},
		{"another protocol with a length", ethernet(33, 0xfe, 0xfe, 0x03, 0x82, 0x1b), [2]uint16{}, "ethertype 0x0021"},
		{"VLAN", ethernet(0x8100, 0, 5, 8, 0), [2]uint16{}, "ethertype 0x8100"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := Parse(c.data)
			if f.Extra != c.extra {
				t.Errorf("extra %q, want %q", f.Extra, c.extra)
			}
			if d := cmp.Diff(c.ports, [2]uint16{f.SrcPort, f.DstPort}); d != "" {
				t.Errorf("ports (-want +got)\n%s", d)
			}
			for n := range c.data {
				Parse(c.data[:n]) // cut short: no panic
			}
		})
	}
}

func TestMobilityLayer(t *testing.T) {
	RegisterMobility()
	mh, err := hex.DecodeString(registration)
	if err != nil {
		t.Fatal(err)
	}
	p := gopacket.NewPacket(packet6(ProtocolMobility, mh...), layers.LayerTypeEthernet, gopacket.Default)
	layer, ok := p.Layer(LayerTypeMobility).(*Mobility)
	if !ok {
		t.Fatalf("no Mobility layer in %v", p)
	}
	msg, err := layer.Message()
	if err != nil || msg.Type != wire.Type(5) {
		t.Errorf("message %v, %v; want a Request", msg, err)
	}
	f := Parse(packet4(17, 0, append(udp(5436, 5436), mh...)...))
	if m := f.Mobility(); m == nil || m.Type != 5 {
		t.Errorf("over UDP: %+v, want a Request", m)
	}
	p = gopacket.NewPacket(packet6(ProtocolMobility, mh[:20]...), layers.LayerTypeEthernet, gopacket.Default)
	if fail := p.ErrorLayer(); fail == nil || !strings.Contains(fail.Error().Error(), "length 88, 20 bytes there") {
		t.Errorf("a message cut short: %v", fail)
	}
}
