package haltest

import (
	"net/netip"

	"github.com/dpmip/dpmip/hwabstraction"
)

var guardChecks = []check{
	{name: "a VM sends from its own addresses only", run: checkSource},
	{name: "what needs no address passes", run: checkExempt},
	{name: "nobody claims another's address", run: checkClaims},
	{name: "every port has the same gateway", run: checkGateway},
	{name: "the last egress closes the port", run: checkClosing},
	{name: "the guard stands without the process", run: checkGuardReopen},
	{name: "a VM reaches a VM beside it", run: checkBeside},
	{name: "a VM beside the source is redirected", needs: redirects, run: checkBesideSource},
}

// speak sends a numbered packet of the VM on a port, from its i-th address.
func (s *stand) speak(p Port, from, to netip.Addr, n int) {
	s.Helper()
	s.fromVM(p, build(s, spec{src: from, dst: to, body: body(n, 0)}))
}

// guarded runs f and returns how many frames the source guard has dropped.
func (s *stand) guarded(f func()) uint64 {
	s.Helper()
	before := s.drops("source_guard")
	f()
	s.silence(s.vm...) // and everything has gone its way
	return s.drops("source_guard") - before
}

// toPeer is what left towards the peer, by source address.
func (s *stand) toPeer(n int) (from []netip.Addr) {
	s.Helper()
	for _, h := range s.leaves(s.fabric, n) {
		from = append(from, h.src)
	}
	return from
}

func checkSource(s *stand) {
	st, vm := owner(1, 1), s.vm[0]
	s.show(vm, st, 1)
	s.speak(vm, s.old(1), s.peer, 0)
	if got := s.toPeer(1); len(got) != 1 || got[0] != s.old(1) {
		s.Errorf("from %s left %v", s.old(1), got)
	}
	if n := s.guarded(func() { s.speak(vm, s.old(2), s.peer, 1) }); n != 1 {
		s.Errorf("a foreign source was counted %d times, want 1", n)
	}
	s.silence(s.fabric)
	second := hwabstraction.Egress{Stamp: st, Port: vm.Name, Source: s.old(2), MAC: vm.Far}
	s.put(second)
	s.speak(vm, s.old(2), s.peer, 2)
	s.toPeer(1)
	s.remove(second)
	if n := s.guarded(func() { s.speak(vm, s.old(2), s.peer, 3) }); n != 1 {
		s.Errorf("a source that was taken away was counted %d times, want 1", n)
	}
	s.silence(s.fabric)
	if c := s.counter(hwabstraction.EgressID(vm.Name, s.old(1))); c.Packets == 0 || c.LastUse.IsZero() {
		s.Errorf("the egress counts %+v", c)
	}
}

// exempt are frames that a VM may send before it has an address.
func (s *stand) exempt(p Port) map[string][]byte {
	all := [6]byte{0x33, 0x33, 0, 0, 0, 1}
	if s.is4 {
		zero, everybody := netip.IPv4Unspecified(), netip.AddrFrom4([4]byte{255, 255, 255, 255})
		return map[string][]byte{
			"DHCP from 0.0.0.0": ethernet(MAC{255, 255, 255, 255, 255, 255}, p.Far, build(s, spec{src: zero, dst: everybody, sport: 68, dport: 67, body: make([]byte, 240)})),
			"ARP probe":         arp(1, p.Far, zero, MAC{}, s.old(1)),
			"own ARP":           arp(1, p.Far, s.old(1), MAC{}, s.old(1)),
		}
	}
	ll, none := linkLocal(p), netip.IPv6Unspecified()
	report := append([]byte{143, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0}, solicitedNode(s.old(1)).AsSlice()...)
	dhcp := netip.MustParseAddr("ff02::1:2")
	return map[string][]byte{
		"DHCPv6 from link-local":    ethernet(all, p.Far, build(s, spec{src: ll, dst: dhcp, sport: 546, dport: 547, body: make([]byte, 60)})),
		"router solicitation":       ethernet(all, p.Far, datagram(ll, netip.MustParseAddr("ff02::2"), protoICMPv6, 255, []byte{133, 0, 0, 0, 0, 0, 0, 0})),
		"router solicitation of ::": ethernet(all, p.Far, datagram(none, netip.MustParseAddr("ff02::2"), protoICMPv6, 255, []byte{133, 0, 0, 0, 0, 0, 0, 0})),
		"MLD report from ::":        ethernet(all, p.Far, routerAlert(datagram(none, netip.MustParseAddr("ff02::16"), protoICMPv6, 1, report))),
		"MLD report":                ethernet(all, p.Far, routerAlert(datagram(ll, netip.MustParseAddr("ff02::16"), protoICMPv6, 1, report))),
		"own address detection":     ethernet(all, p.Far, solicitation(none, solicitedNode(s.old(1)), s.old(1), p.Far)),
		"link-local detection":      ethernet(all, p.Far, solicitation(none, solicitedNode(ll), ll, p.Far)),
		"own advertisement":         ethernet(all, p.Far, advertisement(s.old(1), netip.MustParseAddr("ff02::1"), p.Far)),
		"gateway solicitation":      ethernet(all, p.Far, solicitation(s.old(1), solicitedNode(gateway6), gateway6, p.Far)),
	}
}

// routerAlert puts the hop-by-hop option of MLD (RFC 2711) into a packet.
func routerAlert(b []byte) []byte {
	out := append(append([]byte{}, b[:40]...), b[6], 0, 5, 2, 0, 0, 1, 0)
	out[6] = 0
	out[5] += 8 // short packets only
	return append(out, b[40:]...)
}

func checkExempt(s *stand) {
	vm := s.vm[0]
	s.show(vm, owner(1, 1), 1)
	for what, frame := range s.exempt(vm) {
		if n := s.guarded(func() { s.world.Send(s, vm.Name, frame) }); n != 0 {
			s.Errorf("%s was dropped by the source guard", what)
		}
	}
	s.silence(s.fabric)
}

// claims are frames by which a VM would take another's address, or sends from
// none without need.
func (s *stand) claims(p Port) map[string][]byte {
	all := [6]byte{0x33, 0x33, 0, 0, 0, 1}
	if s.is4 {
		zero, everybody := netip.IPv4Unspecified(), netip.AddrFrom4([4]byte{255, 255, 255, 255})
		return map[string][]byte{
			"ARP of another's address": arp(1, p.Far, s.old(2), MAC{}, gateway4),
			"ARP reply for another":    arp(2, p.Far, s.old(2), MAC{1}, s.old(2)),
			"ARP of the gateway":       arp(1, p.Far, gateway4, MAC{}, gateway4),
			"0.0.0.0 without DHCP":     ethernet(MAC{255, 255, 255, 255, 255, 255}, p.Far, build(s, spec{src: zero, dst: everybody, sport: 68, dport: 69})),
		}
	}
	ll, none := linkLocal(p), netip.IPv6Unspecified()
	return map[string][]byte{
		"advertisement for another":     ethernet(all, p.Far, advertisement(s.old(2), netip.MustParseAddr("ff02::1"), p.Far)),
		"advertisement for the gateway": ethernet(all, p.Far, advertisement(gateway6, netip.MustParseAddr("ff02::1"), p.Far)),
		"detection of another":          ethernet(all, p.Far, solicitation(none, solicitedNode(s.old(2)), s.old(2), p.Far)),
		"link-local without need":       ethernet(all, p.Far, build(s, spec{src: ll, dst: s.peer, body: body(1, 0)})),
		":: without need":               ethernet(all, p.Far, build(s, spec{src: none, dst: s.peer, body: body(1, 0)})),
		"solicitation from another":     ethernet(all, p.Far, solicitation(s.old(2), solicitedNode(gateway6), gateway6, p.Far)),
	}
}

func checkClaims(s *stand) {
	vm := s.vm[0]
	s.show(vm, owner(1, 1), 1)
	for what, frame := range s.claims(vm) {
		if n := s.guarded(func() { s.world.Send(s, vm.Name, frame) }); n != 1 {
			s.Errorf("%s: the source guard counted %d, want 1", what, n)
		}
	}
	s.silence(s.fabric)
}

func checkGateway(s *stand) {
	s.show(s.vm[1], owner(2, 1), 2)
	second := s.gatewayOf(s.vm[1])
	s.show(s.vm[0], owner(1, 1), 1)
	first := s.gatewayOf(s.vm[0])
	if first != second || first == (MAC{}) || first[0]&1 != 0 {
		s.Errorf("the gateway is %x on one port and %x on the other", first, second)
	}
}

func checkClosing(s *stand) {
	vm, st := s.vm[0], owner(1, 1)
	s.show(vm, st, 1)
	s.gatewayOf(vm)
	s.remove(hwabstraction.Egress{Stamp: st, Port: vm.Name, Source: s.old(1)})
	if mac, ok := s.askGateway(vm, 0); ok {
		s.Errorf("the gateway %x answers on a closed port", mac)
	}
}

func checkGuardReopen(s *stand) {
	vm := s.vm[0]
	s.show(vm, owner(1, 1), 1)
	s.gatewayOf(vm)
	s.do("Close", s.dev.Close())
	s.speak(vm, s.old(2), s.peer, 0)
	s.speak(vm, s.old(1), s.peer, 1)
	if got := s.toPeer(1); len(got) != 1 || got[0] != s.old(1) {
		s.Errorf("without the process left packets from %v, want from %s only", got, s.old(1))
	}
	if _, ok := s.askGateway(vm, 1); !ok {
		s.Error("the gateway does not answer without the process")
	}
	s.dev = s.reopen(s)
	if n := s.guarded(func() { s.speak(vm, s.old(2), s.peer, 2) }); n != 1 {
		s.Errorf("after reopening, a foreign source was counted %d times, want 1", n)
	}
}

func checkBeside(s *stand) {
	st := owner(1, 1)
	s.show(s.vm[0], st, 1)
	other := s.deliverOld(2, owner(2, 1))
	other.Port, other.MAC = s.vm[1].Name, s.vm[1].Far
	s.put(other)
	s.activate(owner(2, 1))
	s.speak(s.vm[0], s.old(1), s.old(2), 0)
	if h := s.leaves(s.vm[1], 1)[0]; h.src != s.old(1) || h.dst != s.old(2) {
		s.Errorf("the VM beside got a packet from %s to %s", h.src, h.dst)
	}
	s.silence(s.fabric)
}

func checkBesideSource(s *stand) {
	away := owner(2, 2)
	s.show(s.vm[0], owner(1, 1), 1)
	s.put(s.redirect(2, away))
	s.arm(away)
	s.speak(s.vm[0], s.old(1), s.old(2), 0)
	if h := s.leaves(s.fabric, 1)[0]; h.src != s.old(1) || h.dst != s.there(2) {
		s.Errorf("a VM's packet left from %s to %s", h.src, h.dst)
	}
	s.silence(s.vm...)
}
