package daemon

import (
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/dpmip/dpmip/mobility"
)

func TestAnnouncements(t *testing.T) {
	t.Parallel()
	mac := mobility.MAC{2, 0, 0, 0, 0, 9}
	frame, err := announcement(mac, netip.MustParseAddr("10.0.1.1"))
	if err != nil {
		t.Fatal(err)
	}
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
	arp, ok := p.Layer(layers.LayerTypeARP).(*layers.ARP)
	if !ok || arp.Operation != layers.ARPRequest || string(arp.SourceHwAddress) != string(mac[:]) || string(arp.SourceProtAddress) != string(arp.DstProtAddress) {
		t.Errorf("gratuitous ARP: %v", p)
	}

	frame, err = announcement(mac, netip.MustParseAddr("2001:db8::1"))
	if err != nil {
		t.Fatal(err)
	}
	p = gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
	na, ok := p.Layer(layers.LayerTypeICMPv6NeighborAdvertisement).(*layers.ICMPv6NeighborAdvertisement)
	if !ok || !na.Override() || na.Solicited() || na.TargetAddress.String() != "2001:db8::1" || len(na.Options) != 1 {
		t.Fatalf("advertisement: %v", p)
	}
	ip := p.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
	if ip.HopLimit != 255 || ip.DstIP.String() != "ff02::1" {
		t.Errorf("header: %v", ip)
	}
	icmp := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
	if sum := checksum(ip, frame[54:]); sum != 0 || icmp.Checksum == 0 {
		t.Errorf("checksum does not verify: %#x", sum)
	}
}

// checksum is the one's-complement sum over pseudo-header and message: 0 where
// the checksum in it is right.
func checksum(ip *layers.IPv6, msg []byte) uint16 {
	b := append(append([]byte{}, ip.SrcIP.To16()...), ip.DstIP.To16()...)
	b = append(b, 0, 0, byte(len(msg)>>8), byte(len(msg)), 0, 0, 0, 58)
	b = append(b, msg...)
	var s uint32
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(b[i])<<8 | uint32(b[i+1])
	}
	for s > 0xffff {
		s = s&0xffff + s>>16
	}
	return ^uint16(s)
}
