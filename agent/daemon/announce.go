package daemon

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/google/gopacket"

	"github.com/dpmip/dpmip/mobility"
)

// The layers here are this file's own: gopacket/layers would add 6 MB to the
// program and as much to its resident memory, for its tables of every EtherType
// and PPP protocol. The test reads the frames with it.

// announcement builds the frame that tells what is behind a VM port where a
// gateway's address is: a gratuitous ARP request (RFC 5227 section 3) or an
// unsolicited Neighbor Advertisement with the override flag (RFC 4861 section
// 7.2.6). A switch between the card and the VM learns from it, too.
func announcement(mac mobility.MAC, addr netip.Addr) ([]byte, error) {
	stack := []gopacket.SerializableLayer{
		ethernet{to: mobility.MAC{0x33, 0x33, 0, 0, 0, 1}, from: mac, etherType: 0x86dd},
		ipv6{from: addr, to: allNodes, next: protocolICMPv6},
		advertisement{mac: mac, target: addr},
	}
	if addr.Is4() {
		stack = []gopacket.SerializableLayer{
			ethernet{to: mobility.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, from: mac, etherType: 0x0806},
			gratuitous{mac: mac, addr: addr},
		}
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, stack...); err != nil {
		return nil, fmt.Errorf("daemon: announcement of %s: %w", addr, err)
	}
	return buf.Bytes(), nil
}

const protocolICMPv6 = 58

var allNodes = netip.MustParseAddr("ff02::1")

// ethernet is an Ethernet II header: destination, source, type.
type ethernet struct {
	to, from  mobility.MAC
	etherType uint16
}

func (ethernet) LayerType() gopacket.LayerType { return gopacket.LayerTypeZero }

func (e ethernet) SerializeTo(b gopacket.SerializeBuffer, _ gopacket.SerializeOptions) error {
	h, err := b.PrependBytes(14)
	if err != nil {
		return err
	}
	copy(h, e.to[:])
	copy(h[6:], e.from[:])
	binary.BigEndian.PutUint16(h[12:], e.etherType)
	return nil
}

// gratuitous is an ARP request of a host for its own address (RFC 826):
// hardware and protocol type, their lengths, operation, sender, target.
type gratuitous struct {
	mac  mobility.MAC
	addr netip.Addr
}

func (gratuitous) LayerType() gopacket.LayerType { return gopacket.LayerTypeZero }

func (g gratuitous) SerializeTo(b gopacket.SerializeBuffer, _ gopacket.SerializeOptions) error {
	h, err := b.PrependBytes(28)
	if err != nil {
		return err
	}
	clear(h)
	copy(h, []byte{0, 1, 0x08, 0x00, 6, 4, 0, 1})
	copy(h[8:], g.mac[:])
	copy(h[14:], g.addr.AsSlice())
	copy(h[24:], g.addr.AsSlice())
	return nil
}

// ipv6 is an IPv6 header with hop limit 255 (RFC 8200 section 3).
type ipv6 struct {
	from, to netip.Addr
	next     byte
}

func (ipv6) LayerType() gopacket.LayerType { return gopacket.LayerTypeZero }

func (p ipv6) SerializeTo(b gopacket.SerializeBuffer, _ gopacket.SerializeOptions) error {
	length := len(b.Bytes())
	h, err := b.PrependBytes(40)
	if err != nil {
		return err
	}
	clear(h)
	h[0], h[6], h[7] = 6<<4, p.next, 255
	binary.BigEndian.PutUint16(h[4:], uint16(length))
	copy(h[8:], p.from.AsSlice())
	copy(h[24:], p.to.AsSlice())
	return nil
}

// advertisement is a Neighbor Advertisement to all nodes (RFC 4861 section 4.4):
// type 136, code, checksum, flags (override), target, target link-layer option.
type advertisement struct {
	mac    mobility.MAC
	target netip.Addr
}

func (advertisement) LayerType() gopacket.LayerType { return gopacket.LayerTypeZero }

func (a advertisement) SerializeTo(b gopacket.SerializeBuffer, _ gopacket.SerializeOptions) error {
	h, err := b.PrependBytes(32)
	if err != nil {
		return err
	}
	clear(h)
	h[0], h[4] = 136, 0x20
	copy(h[8:], a.target.AsSlice())
	h[24], h[25] = 2, 1
	copy(h[26:], a.mac[:])
	binary.BigEndian.PutUint16(h[2:], checksumICMPv6(a.target, allNodes, h))
	return nil
}

// checksumICMPv6 is that of RFC 4443 section 2.3 over a message of even length
// whose checksum field is zero.
func checksumICMPv6(from, to netip.Addr, message []byte) uint16 {
	sum := uint32(len(message)) + protocolICMPv6
	for _, part := range [][]byte{from.AsSlice(), to.AsSlice(), message} {
		for i := 0; i < len(part); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(part[i:]))
		}
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
