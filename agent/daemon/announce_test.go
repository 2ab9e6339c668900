package daemon

import (
	"log/slog"
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/dpmip/dpmip/agent"
	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/haltest"
	"github.com/dpmip/dpmip/mobility"
)

func TestAnnouncements(t *testing.T) {
	t.Parallel()
	mac := mobility.MAC{2, 0, 0x5e, 0, 0, 1}
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

// What leaves a VM's port when the VM arrives: its gateways, from their MAC, and
// nothing else. A guest that hears of its own addresses from there takes them for
// duplicates.
func TestWorkerAnnounces(t *testing.T) {
	t.Parallel()
	gateway := mobility.MAC(hwabstraction.DefaultGatewayMAC)
	dev := haltest.NewChaos(haltest.Plan{})
	w := NewWorker(&agent.Hands{Device: dev}, mobility.MAC{}, slog.New(slog.DiscardHandler))
	w.announce(agent.Announce{Port: "p1"})
	type told struct{ From, MAC, Addr string }
	var got []told
	for _, frame := range dev.Left("p1") {
		p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
		from := p.LinkLayer().(*layers.Ethernet).SrcMAC.String()
		switch l := p.Layers()[len(p.Layers())-1].(type) {
		case *layers.ARP:
			got = append(got, told{from, net.HardwareAddr(l.SourceHwAddress).String(), net.IP(l.SourceProtAddress).String()})
		case *layers.ICMPv6NeighborAdvertisement:
			got = append(got, told{from, net.HardwareAddr(l.Options[0].Data).String(), l.TargetAddress.String()})
		default:
			t.Errorf("sent: %v", p)
		}
	}
	want := []told{
		{gateway.String(), gateway.String(), "169.254.1.1"}, {gateway.String(), gateway.String(), "fe80::1"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("announcements (-want +got):\n%s", diff)
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
