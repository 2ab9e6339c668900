package detect

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/haltest"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/flower"
)

// talk is a flow between a peer in the fabric and a VM.
type talk struct {
	*testing.T
	rig              *fastRig
	reopen           func(testing.TB) hwabstraction.Device
	fabric, vm       haltest.Port
	peer, old, there netip.Addr
	tcp              bool
	peerPort, vmPort uint16
	sent             int
}

// frame is the next packet of the flow, towards the VM or from it.
func (k *talk) frame(toVM, syn bool) []byte {
	k.Helper()
	k.sent++
	src, dst, sport, dport := k.old, k.peer, k.vmPort, k.peerPort
	eth := &layers.Ethernet{SrcMAC: k.vm.Far[:], DstMAC: hwabstraction.DefaultGatewayMAC[:], EthernetType: layers.EthernetTypeIPv6}
	if toVM {
		src, dst, sport, dport = dst, src, dport, sport
		eth.SrcMAC, eth.DstMAC = k.fabric.Far[:], k.fabric.MAC[:]
	}
	proto := layers.IPProtocolUDP
	if k.tcp {
		proto = layers.IPProtocolTCP
	}
	var ip gopacket.SerializableLayer = &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: proto, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	network, _ := ip.(gopacket.NetworkLayer)
	if k.old.Is4() {
		eth.EthernetType = layers.EthernetTypeIPv4
		v4 := &layers.IPv4{Version: 4, TTL: 64, Protocol: proto, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
		ip, network = v4, v4
	}
	var transport gopacket.SerializableLayer
	if k.tcp {
		l := &layers.TCP{SrcPort: layers.TCPPort(sport), DstPort: layers.TCPPort(dport), Seq: 1, Window: 1000, SYN: syn, ACK: !syn, PSH: !syn}
		l.SetNetworkLayerForChecksum(network)
		transport = l
	} else {
		l := &layers.UDP{SrcPort: layers.UDPPort(sport), DstPort: layers.UDPPort(dport)}
		l.SetNetworkLayerForChecksum(network)
		transport = l
	}
	b := gopacket.NewSerializeBuffer()
	body := gopacket.Payload(fmt.Sprintf("talk %40d", k.sent))
	err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, eth, ip, transport, body)
	if err != nil {
		k.Fatal(err)
	}
	return b.Bytes()
}

// send sends n packets one way and waits until all have come out, at a port, to
// an address.
func (k *talk) send(n int, toVM bool, at haltest.Port, to netip.Addr) {
	k.Helper()
	in := k.vm.Name
	if toVM {
		in = k.fabric.Name
	}
	for range n {
		k.rig.Send(k, in, k.frame(toVM, false))
	}
	frames := k.rig.Seen(k, at.Name, n, func(f []byte) bool { return bytes.Contains(f, []byte("talk ")) })
	if len(frames) != n {
		k.Fatalf("%d packets sent, %d came out at %s", n, len(frames), at.Name)
	}
	for _, f := range frames {
		p := gopacket.NewPacket(f, layers.LayerTypeEthernet, gopacket.Default)
		if got, ok := netip.AddrFromSlice(p.NetworkLayer().NetworkFlow().Dst().Raw()); !ok || got != to {
			k.Fatalf("a packet came out to %s, want %s", got, to)
		}
		if again := reckoned(k, p); !bytes.Equal(again, f) {
			k.Fatalf("a packet with wrong checksums: %x, want %x", f, again)
		}
	}
}

// reckoned is the packet with its checksums computed anew.
func reckoned(t testing.TB, p gopacket.Packet) []byte {
	t.Helper()
	switch l := p.TransportLayer().(type) {
	case *layers.TCP:
		l.SetNetworkLayerForChecksum(p.NetworkLayer())
	case *layers.UDP:
		l.SetNetworkLayerForChecksum(p.NetworkLayer())
	}
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializePacket(b, gopacket.SerializeOptions{ComputeChecksums: true}, p); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// share is how the VM's packets went, up to now.
func (k *talk) share() (fast, slow uint64) {
	k.Helper()
	r, err := k.rig.dev.Tiers(k.Context())
	if err != nil {
		k.Fatal(err)
	}
	for _, s := range r.VMs {
		fast, slow = fast+s.Fast, slow+s.Slow
	}
	return fast, slow
}

// expect compares what has gone which way since the figures were read.
func (k *talk) expect(what string, fast, slow uint64, f func()) {
	k.Helper()
	fast0, slow0 := k.share()
	f()
	fast1, slow1 := k.share()
	if fast1-fast0 != fast || slow1-slow0 != slow {
		k.Errorf("%s: %d packets were fast and %d slow, want %d and %d", what, fast1-fast0, slow1-slow0, fast, slow)
	}
}

// TestEstablishedFlowsAreFast counts, in the kernel's filters and in the slow
// path: of an established flow, moved or not, no packet is slow but the first
// after arming. With a policy for new flows, only those are judged.
func TestEstablishedFlowsAreFast(t *testing.T) {
	if !*flowerHere {
		t.Skip("make testbed-arm64 runs it, in a kernel that has flower")
	}
	for _, tcp := range []bool{false, true} {
		for _, ipv4 := range []bool{false, true} {
			t.Run(fmt.Sprintf("tcp %v, IPv4 %v", tcp, ipv4), func(t *testing.T) {
				t.Parallel()
				k := newTalk(t, tcp, ipv4)
				const n = 100
				here := hwabstraction.Stamp{Owner: [16]byte{1}, Epoch: 1}
				k.put(hwabstraction.Deliver{Stamp: here, Address: k.old, Restore: k.old, Port: k.vm.Name, MAC: k.vm.Far},
					hwabstraction.Egress{Stamp: here, Port: k.vm.Name, Source: k.old, MAC: k.vm.Far})
				k.do(k.rig.dev.Activate(here))
				k.expect("here", 2*n, 0, func() {
					k.send(n, true, k.vm, k.old)
					k.send(n, false, k.fabric, k.peer)
				})
				k.restart()
				away := hwabstraction.Stamp{Owner: here.Owner, Epoch: 2}
				k.put(hwabstraction.Redirect{Stamp: away, Address: k.old, To: k.there, New: hwabstraction.NewDrop})
				k.do(k.rig.dev.Arm(away))
				k.expect("the first after arming", 0, 1, func() {
					k.send(1, true, k.fabric, k.there)
					k.hit(away)
				})
				k.expect("redirected", n, 0, func() { k.send(n, true, k.fabric, k.there) })
				k.expect("a new flow", 0, 0, func() { k.refused() })
			})
		}
	}
}

func newTalk(t *testing.T, tcp, ipv4 bool) *talk {
	t.Helper()
	k := &talk{
		T: t, rig: &fastRig{}, tcp: tcp, peerPort: 5000, vmPort: 80,
		peer: netip.MustParseAddr("2001:db8:c::9"), old: netip.MustParseAddr("2001:db8:a:1::10"), there: netip.MustParseAddr("2001:db8:e:1::77"),
	}
	if ipv4 {
		k.peer, k.old, k.there = netip.MustParseAddr("198.51.100.9"), netip.MustParseAddr("10.1.0.16"), netip.MustParseAddr("10.3.0.99")
	}
	rig := haltest.NewNamespaceRig(t, func(e haltest.Env) (hwabstraction.Device, error) { return k.rig.open(t, e) })
	k.rig.World, k.reopen = rig.World, rig.Reopen
	k.fabric, k.vm = rig.World.Fabric(), rig.World.VMs()[0]
	return k
}

// restart opens the card anew, and sees that no filter was touched: each counts
// on where it was.
func (k *talk) restart() {
	k.Helper()
	before := k.filters()
	k.reopen(k)
	k.do(k.rig.dev.Settle(k.Context()))
	after := k.filters()
	packets := 0
	for at, s := range before {
		now, ok := after[at]
		if !ok || !now.Holds(s.Filter) || now.Packets != s.Packets {
			k.Errorf("after a restart %+v, before it %+v", now, s)
		}
		packets += int(s.Packets)
	}
	if len(after) != len(before) || packets == 0 {
		k.Errorf("%d filters after a restart, %d before it, which had counted %d packets", len(after), len(before), packets)
	}
}

// where is a filter's place.
type where struct {
	port     int32
	chain    uint32
	priority uint16
	handle   uint32
}

// filters are all that the ports have.
func (k *talk) filters() map[where]flower.Status {
	k.Helper()
	out := map[where]flower.Status{}
	for _, port := range k.rig.ports {
		found, err := k.rig.table.List(k.Context(), port)
		k.do(err)
		for _, s := range found {
			if s.Kind == "flower" {
				out[where{s.Port, s.Chain, s.Priority, s.Handle}] = s
			}
		}
	}
	return out
}

func (k *talk) do(err error) {
	k.Helper()
	if err != nil {
		k.Fatal(err)
	}
}

func (k *talk) put(rules ...hwabstraction.Rule) {
	k.Helper()
	for _, r := range rules {
		for _, res := range k.rig.dev.Apply(k.Context(), []hwabstraction.Change{hwabstraction.Put(r)}) {
			k.do(res.Err)
		}
	}
}

// hit waits until the slow path has timed the first packet of a redirect.
func (k *talk) hit(s hwabstraction.Stamp) {
	k.Helper()
	for end := time.Now().Add(10 * time.Second); ; {
		g, err := k.rig.dev.Group(s)
		k.do(err)
		if !g.FirstHit.IsZero() {
			return
		}
		if time.Now().After(end) {
			k.Fatal("the redirect's first packet is not timed")
		}
	}
}

// refused begins a new flow, which the slow path drops and counts.
func (k *talk) refused() {
	k.Helper()
	before, err := k.rig.dev.Drops(k.Context())
	k.do(err)
	k.peerPort = 6000
	k.rig.Send(k, k.fabric.Name, k.frame(true, true))
	if got := k.rig.Seen(k, k.fabric.Name, 0, func(f []byte) bool { return bytes.Contains(f, []byte("talk ")) }); len(got) > 0 {
		k.Errorf("a new flow was redirected")
	}
	after, err := k.rig.dev.Drops(k.Context())
	k.do(err)
	if n := after["new_flow"] - before["new_flow"]; n != 1 {
		k.Errorf("new_flow counted %d, want 1", n)
	}
}
