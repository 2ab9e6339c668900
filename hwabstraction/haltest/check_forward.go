package haltest

import (
	"bytes"
	"encoding/binary"
	"time"

	"github.com/dpmip/dpmip/hwabstraction"
)

var forwardChecks = []check{
	{name: "checksums are mended", needs: redirects, run: checkChecksums},
	{name: "a UDP checksum of zero stays zero", needs: redirects, run: checkZeroChecksum},
	{name: "fragments are redirected whole", needs: redirects, run: checkFragments},
	{name: "fragments are delivered whole", run: checkFragmentsHere},
	{name: "fragments follow the first that was delivered before arming", needs: redirects, run: checkFragmentsAcross},
	{name: "the hop limit falls", needs: redirects, run: checkHopLimit},
	{name: "a packet too big is answered for its old address", needs: redirects, run: checkTooBig},
	{name: "a host route to a locator beats an unreachable prefix", run: checkHostRoute},
	{name: "a host route to a port", run: checkHostRoutePort},
	{name: "an unreachable prefix ends packets", run: checkUnreachable},
	{name: "counters count", needs: redirects, run: checkCounters},
	{name: "the first hit is timed", needs: redirects, run: checkFirstHit},
	{name: "frames are transmitted", run: checkTransmit},
	{name: "a trap takes its port", needs: []hwabstraction.Feature{hwabstraction.FeatureTrap, hwabstraction.FeatureRedirect}, run: checkTrapPort},
	{name: "a trap takes its protocol, no faster than its rate", needs: []hwabstraction.Feature{hwabstraction.FeatureTrap}, run: checkTrap},
}

// echo is the family's ICMP.
func (s *stand) echo() uint8 {
	if s.is4 {
		return protoICMP
	}
	return protoICMPv6
}

func checkChecksums(s *stand) {
	away, here := owner(1, 1), owner(2, 1)
	s.put(s.redirect(1, away), s.deliverHere(2, here))
	s.arm(away)
	s.activate(here)
	n := 0
	for _, proto := range []uint8{protoUDP, protoTCP, s.echo()} {
		for _, size := range []int{16, 17, 1001} {
			p := spec{src: s.peer, proto: proto, sport: 7, dport: 9, ack: true, body: body(n, size)}
			p.dst = s.old(1)
			s.fromFabric(p)
			p.dst = s.here(2)
			s.fromFabric(p)
			n++
		}
	}
	s.expect(s.fabric, func(int) spec { return spec{dst: s.there(1)} }, 0, n)
	s.expect(s.vm[0], func(int) spec { return spec{dst: s.old(2)} }, 0, n)
}

func checkZeroChecksum(s *stand) {
	if !s.is4 {
		s.Skip("IPv6 has no UDP without a checksum (RFC 8200, 8.1)")
	}
	st := owner(1, 1)
	s.put(s.redirect(1, st))
	s.arm(st)
	s.fromFabric(spec{src: s.peer, dst: s.old(1), noChecksum: true, body: body(0, 40)})
	h := s.leaves(s.fabric, 1)[0]
	if got := binary.BigEndian.Uint16(h.transport()[6:]); got != 0 || h.dst != s.there(1) {
		s.Errorf("a UDP checksum of zero became %#04x, to %s", got, h.dst)
	}
}

// sendFragments sends a datagram of 4000 bytes in pieces and returns it whole.
func (s *stand) sendFragments(p spec) header {
	s.Helper()
	p.src, p.body = s.peer, body(0, 4000)
	whole := build(s, p)
	for _, piece := range split(whole, 1400) {
		s.packetFromFabric(piece)
	}
	h, _ := parse(whole)
	return h
}

// expectFragments joins what left by a port, to dst, and compares it with what
// was sent. A device that reassembles may send one piece or several.
func (s *stand) expectFragments(p Port, dst spec, sent header) {
	s.Helper()
	var parts []header
	for _, f := range s.world.Seen(s, p.Name, 3, func(f []byte) bool { h, ok := ip(f); return ok && h.dst == dst.dst && h.src == s.peer }) {
		h, _ := ip(f)
		if err := verify(h); err != nil {
			s.Error(err)
		}
		parts = append(parts, h)
	}
	if len(parts) == 0 {
		s.Fatalf("no fragment to %s left by %s", dst.dst, p.Name)
	}
	got := join(parts)
	if err := verify(got); err != nil {
		s.Errorf("the datagram put together: %v", err)
	}
	if !bytes.Equal(got.transport()[8:], sent.transport()[8:]) {
		s.Errorf("the datagram put together has %d bytes, %d were sent, or other ones", len(got.transport()), len(sent.transport()))
	}
}

func checkFragments(s *stand) {
	st := owner(1, 1)
	s.put(s.redirect(1, st))
	s.arm(st)
	s.expectFragments(s.fabric, spec{dst: s.there(1)}, s.sendFragments(spec{dst: s.old(1)}))
}

func checkFragmentsHere(s *stand) {
	st := owner(1, 1)
	s.put(s.deliverHere(1, st))
	s.activate(st)
	s.expectFragments(s.vm[0], spec{dst: s.old(1)}, s.sendFragments(spec{dst: s.here(1)}))
}

// A datagram is in two halves, before and after arming; the next one, though its
// identification is the same, is redirected whole.
func checkFragmentsAcross(s *stand) {
	here, next := owner(1, 1), owner(1, 2)
	s.put(s.deliverOld(1, here), s.redirect(1, next))
	s.activate(here)
	whole := build(s, spec{src: s.peer, dst: s.old(1), body: body(0, 4000)})
	sent, _ := parse(whole)
	for i, piece := range split(whole, 1400) {
		s.packetFromFabric(piece)
		if i == 0 {
			s.counted(s.deliverOld(1, here).ID(), 1)
			s.arm(next)
		}
	}
	s.expectFragments(s.vm[0], spec{dst: s.old(1)}, sent)
	s.expectFragments(s.fabric, spec{dst: s.there(1)}, s.sendFragments(spec{dst: s.old(1)}))
}

func checkHopLimit(s *stand) {
	st := owner(1, 1)
	s.put(s.redirect(1, st))
	s.arm(st)
	for i, hops := range []uint8{64, 2, 1} {
		s.fromFabric(spec{src: s.peer, dst: s.old(1), hops: hops, body: body(i, 0)})
	}
	got := s.leaves(s.fabric, 2)
	if len(got) != 2 || got[0].hopLimit() != 63 || got[1].hopLimit() != 1 {
		s.Errorf("of hop limits 64, 2 and 1 left %d packets: %v", len(got), got)
	}
}

func checkTooBig(s *stand) {
	st := owner(1, 1)
	r := s.redirect(1, st)
	r.PathMTU = 1300
	s.put(r)
	s.arm(st)
	s.fromFabric(spec{src: s.peer, dst: s.old(1), dontFragment: true, body: body(0, 1200)})
	s.expect(s.fabric, func(int) spec { return spec{dst: s.there(1)} }, 0, 1)
	s.fromFabric(spec{src: s.peer, dst: s.old(1), dontFragment: true, body: body(1, 1350)})
	frames := s.world.Seen(s, s.fabric.Name, 1, func(f []byte) bool { return isError(f) || isTest(f) })
	if len(frames) != 1 || isTest(frames[0]) {
		s.Fatalf("a packet of %d bytes for a path of 1300: %d frames left, want one ICMP error", 1350+28, len(frames))
	}
	h, _ := ip(frames[0])
	t := h.transport()
	kind, mtu := t[0], binary.BigEndian.Uint32(t[4:])
	want := uint8(2)
	if s.is4 {
		want = 3
		mtu &= 0xffff
		if t[1] != 4 {
			s.Errorf("code %d, want 4, fragmentation needed", t[1])
		}
	}
	quoted, ok := quote(t[8:])
	if h.dst != s.peer || kind != want || mtu != 1300 || !ok || quoted != s.old(1) {
		s.Errorf("answer of type %d to %s with an MTU of %d quoting %s", kind, h.dst, mtu, quoted)
	}
	if err := verify(h); err != nil {
		s.Error(err)
	}
}

func checkHostRoute(s *stand) {
	st := owner(1, 1)
	dst := func(i int) spec { return spec{dst: s.old(i)} }
	s.put(hwabstraction.Unreachable{Stamp: st, Prefix: s.vmRange},
		hwabstraction.HostRoute{Stamp: st, Address: s.old(1), Locator: s.locator})
	s.toward(dst, 1, 2)
	s.expect(s.fabric, dst, 1, 2)
	s.toward(dst, 2, 3)
	s.silence(s.fabric)
	s.remove(hwabstraction.HostRoute{Stamp: st, Address: s.old(1)})
	s.toward(dst, 1, 2)
	s.silence(s.fabric)
}

func checkHostRoutePort(s *stand) {
	st := owner(1, 1)
	vm := s.vm[1]
	s.put(hwabstraction.HostRoute{Stamp: st, Address: s.old(1), Port: vm.Name})
	dst := func(int) spec { return spec{dst: s.old(1)} }
	s.toward(dst, 0, 1)
	// No rule tells the VM's MAC: a device that asks for it is answered.
	frames := s.world.Seen(s, vm.Name, 1, func(f []byte) bool { return isTest(f) || asks(f, s.old(1)) })
	if len(frames) == 0 {
		s.Fatal("nothing left by the port of a host route")
	}
	if isTest(frames[0]) {
		return
	}
	h, _ := ip(frames[0])
	if s.is4 {
		asker := frames[0]
		reply := arp(2, vm.Far, s.old(1), MAC(asker[22:28]), addr4(asker[28:32]))
		s.world.Send(s, vm.Name, reply)
	} else {
		s.world.Send(s, vm.Name, ethernet(MAC(frames[0][6:12]), vm.Far, advertisement(s.old(1), h.src, vm.Far)))
	}
	s.expect(vm, dst, 0, 1)
}

func checkUnreachable(s *stand) {
	st := owner(1, 1)
	dst := func(i int) spec { return spec{dst: s.old(i)} }
	s.put(hwabstraction.Unreachable{Stamp: st, Prefix: s.vmRange}, s.redirect(1, st), s.deliverOld(2, owner(2, 1)))
	s.toward(dst, 1, 4)
	s.silence(append(s.vm, s.fabric)...)
	s.arm(st)
	s.activate(owner(2, 1))
	s.toward(dst, 1, 4)
	s.expect(s.fabric, func(i int) spec { return spec{dst: s.there(i)} }, 1, 2)
	s.expect(s.vm[0], dst, 2, 3)
	s.remove(hwabstraction.Unreachable{Stamp: st, Prefix: s.vmRange})
	s.toward(dst, 3, 4)
	s.expect(s.fabric, dst, 3, 4)
}

func checkCounters(s *stand) {
	away, here := owner(1, 1), owner(2, 1)
	s.put(s.redirect(1, away), s.deliverHere(2, here), s.redirect(3, away))
	s.arm(away)
	s.activate(here)
	const n, size = 5, 100
	length := uint64(len(build(s, spec{src: s.peer, dst: s.old(1), body: body(0, size)})))
	for i := range n {
		s.fromFabric(spec{src: s.peer, dst: s.old(1), body: body(i, size)})
		s.fromFabric(spec{src: s.peer, dst: s.here(2), body: body(i, size)})
	}
	s.leaves(s.fabric, n)
	s.leaves(s.vm[0], n)
	for _, id := range []hwabstraction.RuleID{hwabstraction.RedirectID(s.old(1)), hwabstraction.DeliverID(s.here(2))} {
		c := s.counter(id)
		// Bytes are counted from the IP or the Ethernet header on.
		if c.Packets != n || c.Bytes != n*length && c.Bytes != n*(length+14) || c.LastUse.IsZero() {
			s.Errorf("%s took %d packets of %d bytes and counts %+v", id, n, length, c)
		}
	}
	if c := s.counter(hwabstraction.RedirectID(s.old(3))); c != (hwabstraction.Counter{}) {
		s.Errorf("an unused rule counts %+v", c)
	}
	all, err := s.dev.Counters(s.Context(), []hwabstraction.RuleID{hwabstraction.RedirectID(s.old(9))})
	if err != nil || len(all) != 0 {
		s.Errorf("counters of an absent rule: %v, %v", all, err)
	}
}

func checkFirstHit(s *stand) {
	st := owner(1, 1)
	s.put(s.redirect(1, st))
	s.arm(st)
	if g := s.group(st); g.ArmedAt.IsZero() || !g.FirstHit.IsZero() {
		s.Errorf("armed, nothing redirected: %+v", g)
	}
	s.toward(func(int) spec { return spec{dst: s.old(1)} }, 0, 3)
	s.leaves(s.fabric, 3)
	if g := s.group(st); g.FirstHit.IsZero() || g.FirstHit.Before(g.ArmedAt) {
		s.Errorf("armed at %s, the first packet redirected at %s", g.ArmedAt, g.FirstHit)
	}
}

func checkTransmit(s *stand) {
	for i, p := range append(s.vm, s.fabric) {
		frame := ethernet(p.Far, p.MAC, build(s, spec{src: s.peer, dst: s.old(1), body: body(i, 0)}))
		s.do("Transmit", s.dev.Transmit(p.Name, frame))
		if got := s.world.Seen(s, p.Name, 1, isTest); len(got) != 1 || !bytes.Equal(got[0], frame) {
			s.Errorf("transmitted on %s %x, left %x", p.Name, frame, got)
		}
	}
}

func checkTrap(s *stand) {
	st := owner(1, 1)
	trap := hwabstraction.Trap{Stamp: st, Address: s.old(1), Protocol: protoTCP, Rate: 5}
	s.put(trap, s.redirect(1, st))
	s.arm(st)
	const n = 60
	for i := range n {
		s.fromFabric(spec{src: s.peer, dst: s.old(1), proto: protoTCP, ack: true, body: body(i, 0)})
	}
	s.toward(func(int) spec { return spec{dst: s.old(1)} }, n, n+1)
	s.expect(s.fabric, func(int) spec { return spec{dst: s.there(1)} }, n, n+1)
	select {
	case got := <-s.dev.Trapped():
		h, ok := parse(got.Frame)
		if got.ID != trap.ID() || !ok || h.dst != s.old(1) || h.proto != protoTCP || number(got.Frame) != 0 {
			s.Errorf("trapped by %s: %x", got.ID, got.Frame)
		}
	case <-time.After(patience):
		s.Fatal("nothing was trapped")
	}
	if c := s.counter(trap.ID()); c.Packets+s.drops("trap_rate") < n {
		s.Errorf("%d packets: %d trapped and %d over the rate", n, c.Packets, s.drops("trap_rate"))
	}
	if got := s.drops("trap_rate"); got == 0 {
		s.Errorf("%d packets at once at a rate of %d: none was over it", n, trap.Rate)
	}
}

// trapPort is a port that only checkTrapPort sends to.
const trapPort = 7

// checkTrapPort: a port's trap takes nothing else of its protocol, also where
// the delivery of the address holds.
func checkTrapPort(s *stand) {
	st := owner(1, 1)
	trap := hwabstraction.Trap{Stamp: st, Address: s.old(1), Protocol: protoUDP, DstPort: trapPort, Rate: 100}
	s.put(trap, s.redirect(1, st))
	s.arm(st)
	s.fromFabric(spec{src: s.peer, dst: s.old(1), proto: protoUDP, dport: trapPort, body: body(0, 0)})
	s.toward(func(int) spec { return spec{dst: s.old(1)} }, 1, 2)
	s.expect(s.fabric, func(int) spec { return spec{dst: s.there(1)} }, 1, 2)
	select {
	case got := <-s.dev.Trapped():
		if h, ok := parse(got.Frame); got.ID != trap.ID() || !ok || h.dst != s.old(1) || number(got.Frame) != 0 {
			s.Errorf("trapped by %s: %x", got.ID, got.Frame)
		}
	case <-time.After(patience):
		s.Fatal("nothing was trapped")
	}
	if c := s.counter(trap.ID()); c.Packets != 1 {
		s.Errorf("one packet to the port, %d trapped", c.Packets)
	}
}
