package capture

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"
)

// Numbers that Parse knows.
const (
	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherIPv6 = 0x86dd

	protoHopByHop = 0
	protoICMP     = 1
	protoIGMP     = 2
	protoTCP      = 6
	protoUDP      = 17
	protoFragment = 44
	protoICMPv6   = 58
	protoOSPF     = 89
)

// ProtocolMobility is the Mobility Header's protocol number.
const ProtocolMobility = 135

// Frame is one recorded frame, as far as assertions need it.
type Frame struct {
	Node, Link string
	At         time.Duration // on the run's clock
	Length     int           // on the wire; segmentation offload may show more than the MTU
	Data       []byte        // what was kept

	EtherType        uint16
	Src, Dst         netip.Addr // outermost; invalid if not IP
	HopLimit         uint8
	Protocol         uint8  // after hop-by-hop options and fragment header
	SrcPort, DstPort uint16 // of TCP, UDP; 0 in later fragments
	Payload          []byte // after the last header named by Protocol begins
	Extra            string // an added header or tunnel port, named; else ""
}

// tunnelPorts are UDP destination ports whose datagrams carry frames or packets.
var tunnelPorts = map[uint16]string{
	1701: "L2TP", 2152: "GTP-U", 3544: "Teredo", 4341: "LISP", 4500: "ESP in UDP", 4754: "GRE in UDP", 4789: "VXLAN",
	4790: "VXLAN-GPE", 5555: "FOU", 6080: "GUE", 6081: "Geneve", 6635: "MPLS in UDP", 8472: "VXLAN", 51820: "WireGuard",
}

// Protocols that are a packet's own; any other number is an added header.
var plain4 = map[uint8]bool{protoICMP: true, protoIGMP: true, protoTCP: true, protoUDP: true, protoOSPF: true}
var plain6 = map[uint8]bool{protoTCP: true, protoUDP: true, protoICMPv6: true, protoOSPF: true, ProtocolMobility: true, 59: true}

// Parse takes an Ethernet frame apart. What is cut short leaves zero fields.
func Parse(data []byte) Frame {
	f := Frame{Data: data, Length: len(data)}
	if len(data) < 14 {
		return f
	}
	f.EtherType = binary.BigEndian.Uint16(data[12:])
	switch f.EtherType {
	case etherIPv4:
		f.parse4(data[14:])
	case etherIPv6:
		f.parse6(data[14:])
	case etherARP:
	default:
		if isis(data) {
			return f
		}
		f.Extra = fmt.Sprintf("ethertype 0x%04x", f.EtherType)
	}
	return f
}

// isis tells whether a frame is a router's own word in IS-IS, which is not over IP:
// a length instead of a type (IEEE 802.3), LLC to the OSI network layer, and the
// protocol's discriminator (ISO 10589 section 9.5).
func isis(data []byte) bool {
	return len(data) > 17 && binary.BigEndian.Uint16(data[12:]) <= 1500 && [4]byte(data[14:18]) == [4]byte{0xfe, 0xfe, 0x03, 0x83}
}

func (f *Frame) parse4(b []byte) {
	if len(b) < 20 {
		return
	}
	f.Src, f.Dst = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
	f.HopLimit, f.Protocol = b[8], b[9]
	if header := int(b[0]&0xf) * 4; header >= 20 && header <= len(b) {
		f.Payload = b[header:]
	}
	if !plain4[f.Protocol] {
		f.Extra = fmt.Sprintf("IPv4 protocol %d", f.Protocol)
		return
	}
	if binary.BigEndian.Uint16(b[6:])&0x1fff == 0 {
		f.ports()
	}
}

func (f *Frame) parse6(b []byte) {
	if len(b) < 40 {
		return
	}
	f.Src, f.Dst = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
	f.HopLimit, f.Protocol = b[7], b[6]
	b = b[40:]
	first := true
	if f.Protocol == protoHopByHop && len(b) >= 8 { // MLD's router alert
		f.Protocol = b[0]
		b = b[min(int(b[1])*8+8, len(b)):]
		if f.Protocol != protoICMPv6 {
			f.Extra = "hop-by-hop options"
		}
	}
	if f.Protocol == protoFragment && len(b) >= 8 {
		f.Protocol = b[0]
		first = binary.BigEndian.Uint16(b[2:])&0xfff8 == 0
		b = b[8:]
	}
	f.Payload = b
	if !plain6[f.Protocol] {
		f.Extra = fmt.Sprintf("IPv6 next header %d", f.Protocol)
		return
	}
	if first {
		f.ports()
	}
}

// ports reads the ports and names a tunnel that shows by them.
func (f *Frame) ports() {
	if f.Protocol != protoTCP && f.Protocol != protoUDP || len(f.Payload) < 4 {
		return
	}
	f.SrcPort, f.DstPort = binary.BigEndian.Uint16(f.Payload), binary.BigEndian.Uint16(f.Payload[2:])
	if name := tunnelPorts[f.DstPort]; f.Protocol == protoUDP && name != "" && f.Extra == "" {
		f.Extra = fmt.Sprintf("UDP port %d (%s)", f.DstPort, name)
	}
}

func (f Frame) String() string {
	return fmt.Sprintf("%s:%s at %v: %s:%d -> %s:%d protocol %d length %d %s",
		f.Node, f.Link, f.At, f.Src, f.SrcPort, f.Dst, f.DstPort, f.Protocol, f.Length, f.Extra)
}
