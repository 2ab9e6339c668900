package daemon

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/dpmip/dpmip/mobility"
)

// announcement builds the frame that tells a VM port's neighbours where an
// address is: a gratuitous ARP request (RFC 5227 section 3) or an unsolicited
// Neighbor Advertisement with the override flag (RFC 4861 section 7.2.6).
func announcement(mac mobility.MAC, addr netip.Addr) ([]byte, error) {
	if addr.Is4() {
		return gratuitousARP(mac[:], addr.AsSlice())
	}
	return unsolicitedNA(mac[:], addr.AsSlice())
}

func gratuitousARP(mac net.HardwareAddr, ip net.IP) ([]byte, error) {
	return serialize(
		&layers.Ethernet{SrcMAC: mac, DstMAC: layers.EthernetBroadcast, EthernetType: layers.EthernetTypeARP},
		&layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
			Operation: layers.ARPRequest, SourceHwAddress: mac, SourceProtAddress: ip,
			DstHwAddress: make([]byte, 6), DstProtAddress: ip,
		})
}

func unsolicitedNA(mac net.HardwareAddr, ip net.IP) ([]byte, error) {
	header := &layers.IPv6{Version: 6, NextHeader: layers.IPProtocolICMPv6, HopLimit: 255, SrcIP: ip, DstIP: net.IPv6linklocalallnodes}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeNeighborAdvertisement, 0)}
	if err := icmp.SetNetworkLayerForChecksum(header); err != nil {
		return nil, fmt.Errorf("daemon: advertisement of %s: %w", ip, err)
	}
	return serialize(
		&layers.Ethernet{SrcMAC: mac, DstMAC: net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, EthernetType: layers.EthernetTypeIPv6},
		header, icmp,
		&layers.ICMPv6NeighborAdvertisement{
			Flags: 0x20, TargetAddress: ip,
			Options: layers.ICMPv6Options{{Type: layers.ICMPv6OptTargetAddress, Data: mac}},
		})
}

func serialize(l ...gopacket.SerializableLayer) ([]byte, error) {
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, l...); err != nil {
		return nil, fmt.Errorf("daemon: announcement: %w", err)
	}
	return buf.Bytes(), nil
}
