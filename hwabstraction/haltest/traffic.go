package haltest

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"runtime"
	"time"

	"github.com/dpmip/dpmip/hwabstraction"
)

// fromFabric sends a packet into the fabric port.
func (s *stand) fromFabric(p spec) {
	s.Helper()
	s.packetFromFabric(build(s, p))
}

func (s *stand) packetFromFabric(packet []byte) {
	s.Helper()
	s.world.Send(s, s.fabric.Name, ethernet(s.fabric.MAC, s.fabric.Far, packet))
}

// toward sends numbered UDP packets [from, to) of the peer to an address.
func (s *stand) toward(dst func(i int) spec, from, to int) {
	s.Helper()
	for i := from; i < to; i++ {
		p := dst(i)
		p.src, p.body = s.peer, body(i, 0)
		s.fromFabric(p)
	}
}

// fromVM sends a packet of the VM on a port, to its gateway.
func (s *stand) fromVM(p Port, packet []byte) {
	s.Helper()
	s.world.Send(s, p.Name, ethernet(s.gatewayOf(p), p.Far, packet))
}

// gatewayOf asks for the gateway's MAC on an open VM port, as the VM's first
// own address there, once.
func (s *stand) gatewayOf(p Port) MAC {
	s.Helper()
	if mac, ok := s.gateways[p.Name]; ok {
		return mac
	}
	mac, ok := s.askGateway(p, 1)
	if !ok {
		s.Fatalf("no answer of the gateway on port %s", p.Name)
	}
	if s.gateways == nil {
		s.gateways = map[string]MAC{}
	}
	s.gateways[p.Name] = mac
	return mac
}

// askGateway resolves the gateway's MAC from a VM port, 169.254.1.1 or fe80::1
// by the family; n is how many answers to wait for.
func (s *stand) askGateway(p Port, n int) (MAC, bool) {
	s.Helper()
	if s.is4 {
		return s.resolve4(p, n, gateway4, s.gatewayAsker)
	}
	return s.resolve6(p, n)
}

// show opens a VM port with an Egress for an address and learns its gateway.
func (s *stand) show(p Port, st hwabstraction.Stamp, i int) {
	s.Helper()
	s.put(hwabstraction.Egress{Stamp: st, Port: p.Name, Source: s.old(i), MAC: p.Far})
	s.gatewayAsker = s.old(i)
}

// leaves returns the numbered test packets that have left by a port, n of them
// or whatever there are, and checks their checksums.
func (s *stand) leaves(p Port, n int) []header {
	s.Helper()
	var out []header
	for _, f := range s.world.Seen(s, p.Name, n, isTest) {
		h, _ := ip(f)
		if err := verify(h); err != nil {
			s.Errorf("packet %d to %s: %v", number(f), h.dst, err)
		}
		if h.hopLimit() == 0 {
			s.Errorf("packet %d to %s left with a hop limit of 0", number(f), h.dst)
		}
		out = append(out, h)
	}
	if len(out) < n {
		s.Fatalf("%d packets left by %s, want %d", len(out), p.Name, n)
	}
	return out
}

// isTest tells the numbered packets from ICMP errors that quote them and from
// what else is on the wire.
func isTest(f []byte) bool {
	h, ok := ip(f)
	return ok && !h.icmpError() && number(f) >= 0
}

// isError matches ICMP errors.
func isError(f []byte) bool {
	h, ok := ip(f)
	return ok && h.icmpError()
}

// isReset matches TCP resets.
func isReset(f []byte) bool {
	h, ok := ip(f)
	t := h.transport()
	return ok && h.proto == protoTCP && len(t) >= 14 && t[13]&4 != 0
}

// silence fails the test if a test packet leaves by one of the ports.
func (s *stand) silence(ports ...Port) {
	s.Helper()
	for _, p := range ports {
		for _, h := range s.leaves(p, 0) {
			s.Errorf("packet %d to %s left by %s; nothing may", number(h.b), h.dst, p.Name)
		}
	}
}

// expect checks that exactly the numbered packets [from, to) left by a port, in
// order, with the addresses that dst gives.
func (s *stand) expect(p Port, dst func(i int) spec, from, to int) []header {
	s.Helper()
	got := s.leaves(p, to-from)
	for k, h := range got {
		i := from + k
		switch {
		case i >= to:
			s.Errorf("packet %d more than expected left by %s", number(h.b), p.Name)
		case number(h.b) != i:
			s.Fatalf("packet %d left by %s in place of %d", number(h.b), p.Name, i)
		case h.dst != dst(i).dst:
			s.Fatalf("packet %d left by %s to %s, want to %s", i, p.Name, h.dst, dst(i).dst)
		}
	}
	return got
}

// drops reads one drop counter.
func (s *stand) drops(reason string) uint64 {
	s.Helper()
	d, err := s.dev.Drops(s.Context())
	s.do("Drops", err)
	return d[reason]
}

func (s *stand) counter(id hwabstraction.RuleID) hwabstraction.Counter {
	s.Helper()
	c, err := s.dev.Counters(s.Context(), []hwabstraction.RuleID{id})
	s.do("Counters", err)
	return c[id]
}

// counted waits until a rule has taken n packets.
func (s *stand) counted(id hwabstraction.RuleID, n uint64) {
	s.Helper()
	for end := time.Now().Add(patience); s.counter(id).Packets < n; {
		if time.Now().After(end) {
			s.Fatalf("%v has taken %d packets after %v, want %d", id, s.counter(id).Packets, patience, n)
		}
		runtime.Gosched()
	}
}

// to is the spec of every packet to one address.
func to(a func(i int) netip.Addr, n int) func(i int) spec {
	return func(i int) spec { return spec{dst: a(i % n)} }
}

// resolve4 asks by ARP for an address, as sender, and waits for n answers.
func (s *stand) resolve4(p Port, n int, target, sender netip.Addr) (mac MAC, ok bool) {
	s.Helper()
	s.world.Send(s, p.Name, arp(1, p.Far, sender, MAC{}, target))
	for _, f := range s.world.Seen(s, p.Name, n, func(f []byte) bool {
		return len(f) >= 42 && binary.BigEndian.Uint16(f[12:]) == ethARP && f[21] == 2 && bytes.Equal(f[28:32], target.AsSlice())
	}) {
		mac, ok = MAC(f[22:28]), true
	}
	return mac, ok
}

// linkLocal is the link-local address of the VM on a port.
func linkLocal(p Port) netip.Addr {
	b := [16]byte{0xfe, 0x80, 8: p.Far[0] ^ 2, p.Far[1], p.Far[2], 0xff, 0xfe, p.Far[3], p.Far[4], p.Far[5]}
	return netip.AddrFrom16(b)
}

// resolve6 asks for fe80::1 by neighbour discovery, from the link-local
// address, and waits for n answers.
func (s *stand) resolve6(p Port, n int) (mac MAC, ok bool) {
	s.Helper()
	f := ethernet(MAC{0x33, 0x33, 0xff, 0, 0, 1}, p.Far, solicitation(linkLocal(p), solicitedNode(gateway6), gateway6, p.Far))
	s.world.Send(s, p.Name, f)
	for _, f := range s.world.Seen(s, p.Name, n, func(f []byte) bool { return isAdvertisement(f, gateway6) }) {
		h, _ := ip(f)
		if t := h.transport(); len(t) >= 32 && t[24] == 2 {
			mac, ok = MAC(t[26:32]), true
		}
	}
	return mac, ok
}

func isAdvertisement(f []byte, target netip.Addr) bool {
	h, ok := ip(f)
	t := h.transport()
	return ok && h.proto == protoICMPv6 && len(t) >= 24 && t[0] == 136 && bytes.Equal(t[8:24], target.AsSlice())
}

// solicitedNode is the solicited-node multicast address (RFC 4291, 2.7.1).
func solicitedNode(a netip.Addr) netip.Addr {
	b := a.As16()
	return netip.AddrFrom16([16]byte{0xff, 2, 11: 1, 12: 0xff, 13: b[13], 14: b[14], 15: b[15]})
}
