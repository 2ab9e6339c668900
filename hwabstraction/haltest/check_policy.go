package haltest

import (
	"encoding/binary"

	"github.com/dpmip/dpmip/hwabstraction"
)

var (
	judging   = []hwabstraction.Feature{hwabstraction.FeatureRedirect, hwabstraction.FeatureConntrack}
	rejecting = append(judging[:2:2], hwabstraction.FeatureReject)
)

var policyChecks = []check{
	{name: "redirect takes every flow", needs: redirects, run: checkPolicyRedirect},
	{name: "drop ends new flows without an answer", needs: judging, run: checkPolicyDrop},
	{name: "reject answers new flows", needs: rejecting, run: checkPolicyReject},
	{name: "TCP is new with SYN and without ACK only", needs: judging, run: checkMidStream},
	{name: "fragments follow the first", needs: judging, run: checkPolicyFragments},
	{name: "ICMP errors follow what they quote", needs: judging, run: checkPolicyErrors},
	{name: "flows seen before need no loading", needs: judging, run: checkSeenBefore},
}

// judged arms a redirect with a policy and one established flow of each kind.
func (s *stand) judged(policy hwabstraction.NewFlows) hwabstraction.Redirect {
	s.Helper()
	r := s.redirect(1, owner(1, 2))
	r.New = policy
	s.put(r)
	n, err := s.dev.LoadFlows(s.Context(), r.Stamp, s.known())
	if err != nil || n != len(s.known()) {
		s.Fatalf("LoadFlows took %d of %d flows: %v", n, len(s.known()), err)
	}
	s.arm(r.Stamp)
	return r
}

// known are the flows of judged: TCP and UDP from 6000 of the peer to 80.
func (s *stand) known() (flows []hwabstraction.Flow) {
	for _, proto := range []uint8{protoTCP, protoUDP} {
		flows = append(flows, hwabstraction.Flow{
			Protocol: proto, SeenReply: true,
			VM:   hwabstraction.Endpoint{Addr: s.old(1), Port: 80},
			Peer: hwabstraction.Endpoint{Addr: s.peer, Port: 6000},
		})
	}
	return flows
}

// attempt is a packet of the peer that begins a flow, or goes on with the known
// one where sport is 6000.
func (s *stand) attempt(proto uint8, sport uint16, n int) spec {
	known := sport == 6000
	return spec{src: s.peer, dst: s.old(1), proto: proto, sport: sport, dport: 80, syn: !known, ack: known, body: body(n, 0)}
}

// gone checks that exactly the packets with these numbers were redirected.
func (s *stand) gone(want ...int) {
	s.Helper()
	got := s.leaves(s.fabric, len(want))
	for i, h := range got {
		if i >= len(want) || number(h.b) != want[i] || h.dst != s.there(1) {
			s.Errorf("packet %d left to %s; redirected should be %v", number(h.b), h.dst, want)
		}
	}
}

func checkPolicyRedirect(s *stand) {
	s.judged(hwabstraction.NewRedirect)
	for i, proto := range []uint8{protoTCP, protoUDP, s.echo()} {
		s.fromFabric(s.attempt(proto, 7000, i))
	}
	s.gone(0, 1, 2)
}

func checkPolicyDrop(s *stand) {
	s.judged(hwabstraction.NewDrop)
	before := s.drops("new_flow")
	for i, proto := range []uint8{protoTCP, protoUDP, s.echo()} {
		s.fromFabric(s.attempt(proto, 7000, 2*i))
		if proto != s.echo() {
			s.fromFabric(s.attempt(proto, 6000, 2*i+1))
		}
	}
	frames := s.world.Seen(s, s.fabric.Name, 2, func(f []byte) bool { return isTest(f) || isError(f) || isReset(f) })
	var left []int
	for _, f := range frames {
		left = append(left, number(f))
	}
	if len(left) != 2 || left[0] != 1 || left[1] != 3 {
		s.Errorf("left packets %v, want 1 and 3 and no answer", left)
	}
	if got := s.drops("new_flow") - before; got != 3 {
		s.Errorf("new_flow counted %d, want 3", got)
	}
}

func checkPolicyReject(s *stand) {
	s.judged(hwabstraction.NewReject)
	s.fromFabric(s.attempt(protoTCP, 7000, 0))
	resets := s.world.Seen(s, s.fabric.Name, 1, func(f []byte) bool { return isReset(f) || isTest(f) })
	if len(resets) != 1 || !isReset(resets[0]) {
		s.Fatalf("a new TCP connection had %d answers, want a reset", len(resets))
	}
	h, _ := ip(resets[0])
	t := h.transport()
	if h.src != s.old(1) || h.dst != s.peer || binary.BigEndian.Uint16(t) != 80 ||
		binary.BigEndian.Uint16(t[2:]) != 7000 || binary.BigEndian.Uint32(t[8:]) < 1001 {
		s.Errorf("reset from %s to %s: %x", h.src, h.dst, t)
	}
	if err := verify(h); err != nil {
		s.Error(err)
	}
	s.fromFabric(s.attempt(protoUDP, 7000, 1))
	errors := s.world.Seen(s, s.fabric.Name, 1, func(f []byte) bool { return isError(f) || isTest(f) })
	if len(errors) != 1 || !isError(errors[0]) {
		s.Fatalf("a new UDP flow had %d answers, want an ICMP error", len(errors))
	}
	h, _ = ip(errors[0])
	t = h.transport()
	prohibited := t[0] == 1 && t[1] == 1
	if s.is4 {
		prohibited = t[0] == 3 && (t[1] == 9 || t[1] == 10 || t[1] == 13)
	}
	if quoted, ok := quote(t[8:]); !prohibited || !ok || quoted != s.old(1) || h.dst != s.peer {
		s.Errorf("answer of type %d, code %d to %s quoting %s", t[0], t[1], h.dst, quoted)
	}
	s.fromFabric(s.attempt(protoUDP, 6000, 2))
	s.fromFabric(s.attempt(protoTCP, 6000, 3))
	s.gone(2, 3)
}

func checkMidStream(s *stand) {
	s.judged(hwabstraction.NewDrop)
	p := s.attempt(protoTCP, 7001, 0)
	p.ack = true // a SYN of the VM's own connection, answered
	s.fromFabric(p)
	p = s.attempt(protoTCP, 7002, 1)
	p.syn, p.ack = false, true
	s.fromFabric(p)
	s.fromFabric(s.attempt(protoTCP, 7003, 2))
	s.gone(0, 1)
}

func checkPolicyFragments(s *stand) {
	s.judged(hwabstraction.NewDrop)
	s.sendFragments(spec{dst: s.old(1), sport: 7000, dport: 80})
	if got := s.world.Seen(s, s.fabric.Name, 0, func(f []byte) bool { h, ok := ip(f); return ok && h.src == s.peer }); len(got) != 0 {
		s.Errorf("%d fragments of a new flow left", len(got))
	}
	r := s.judgedAgain()
	s.expectFragments(s.fabric, spec{dst: r.To}, s.sendFragments(spec{dst: r.Address, sport: 6000, dport: 80}))
}

// judgedAgain is a second VM with the known flows, so that the fragments of the
// first do not mix with its own.
func (s *stand) judgedAgain() hwabstraction.Redirect {
	s.Helper()
	r := s.redirect(5, owner(2, 2))
	r.New = hwabstraction.NewDrop
	s.put(r)
	flows := s.known()
	for i := range flows {
		flows[i].VM.Addr = r.Address
	}
	_, err := s.dev.LoadFlows(s.Context(), r.Stamp, flows)
	s.do("LoadFlows", err)
	s.arm(r.Stamp)
	return r
}

func checkPolicyErrors(s *stand) {
	s.judged(hwabstraction.NewDrop)
	sent, _ := parse(build(s, spec{src: s.old(1), dst: s.peer, sport: 80, dport: 6000, body: body(0, 0)}))
	kind := uint8(1) // unreachable, port
	code := uint8(4)
	if s.is4 {
		kind, code = 3, 3
	}
	e := icmpError(sent, kind, code, 0)
	s.packetFromFabric(e)
	got := s.world.Seen(s, s.fabric.Name, 1, isError)
	if len(got) != 1 {
		s.Fatalf("%d ICMP errors left, want 1", len(got))
	}
	h, _ := ip(got[0])
	if h.dst != s.there(1) {
		s.Errorf("an ICMP error for a known flow went to %s", h.dst)
	}
	if err := verify(h); err != nil {
		s.Error(err)
	}
}

func checkSeenBefore(s *stand) {
	vm, here := s.vm[0], owner(1, 1)
	s.show(vm, here, 1)
	s.put(s.deliverOld(1, here))
	s.activate(here)
	in := spec{src: s.peer, dst: s.old(1), sport: 6100, dport: 81, body: body(0, 0)}
	back := spec{src: s.old(1), dst: s.peer, sport: 81, dport: 6100, body: body(1, 0)}
	s.fromFabric(in)
	s.leaves(vm, 1)
	s.fromVM(vm, build(s, back))
	s.leaves(s.fabric, 1)
	s.judged(hwabstraction.NewDrop)
	in.body = body(2, 0)
	s.fromFabric(in)
	in.sport, in.body = 6101, body(3, 0)
	s.fromFabric(in)
	s.gone(2)
	s.silence(s.vm...)
}
