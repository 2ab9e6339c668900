package switchdev

import (
	"cmp"
	"crypto/sha256"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/flower"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/ways"
)

// Where the slow path must stand, besides its place in chain 0 behind every
// filter of the fast path.
const (
	SlowChain    = 1   // packets that miss in a chain go on here
	SlowPriority = 100 // of the slow path in chain 0: behind all priorities below
)

// Chains. A VM has two from firstChain on: the second is for packets that
// conntrack has seen.
const (
	entryChain  = 0
	egressChain = 2
	firstChain  = 16
)

// Priorities. One for each family: the kernel allows one protocol in each.
const (
	gatePriority  = 1
	hopPriority   = 2 // and 3: a hop limit that is used up
	missPriority  = 4 // and 5
	rulePriority  = 6 // and 7
	tailPriority  = 8
	entryPriority = 10 // and 11
)

// maxExcept bounds the destinations that a VM's port leaves to the slow path.
// Where there are more, all of them are.
const maxExcept = 1024

// rung is a step of the ladder: how much of a plan is asked for, and where.
type rung struct {
	name     string
	off      bool // nothing is
	ct       bool // conntrack sees the packets; else only what needs none is fast
	skipHW   bool
	skipSW   bool
	hardware bool // it counts only if hardware has taken all of it
}

// scene is what the kernel says around the rules.
type scene struct {
	uplinks []ways.Port
	ports   map[string]ways.Port    // of VMs; one that is gone is left out
	hops    map[netip.Addr]ways.Hop // towards redirect targets; unclear ones are left out
	exits   map[bool]ways.Exit      // by "is IPv4"; an unclear one is left out
	lost    string                  // why the e-switch takes no filters; "" = it does
	untold  bool                    // whether it does could not be found out
	except  map[bool][]netip.Prefix // what the slow path must see of a VM's packets, besides an exit's own
}

func (s scene) isUplink(port int32) bool {
	return slices.ContainsFunc(s.uplinks, func(p ways.Port) bool { return p.Index == port })
}

// wanted is a filter, and the rules that it takes packets for.
type wanted struct {
	flower.Filter
	count []hwabstraction.RuleID
	found *flower.Status // what an earlier process has put; nil: this one has
}

// cookie tells our filters from others' and changes with what they count for.
func cookie(count []hwabstraction.RuleID) []byte {
	h := sha256.New()
	for _, id := range count {
		h.Write([]byte(id.String() + "\n"))
	}
	return append([]byte(magic), h.Sum(nil)[:16-len(magic)]...)
}

// magic begins the cookie of every filter of ours.
const magic = "dpmip\x01"

func ours(cookie []byte) bool { return len(cookie) == 16 && string(cookie[:len(magic)]) == magic }

// plan collects the filters of one unit on one port.
type plan struct {
	rung
	port  int32
	chain uint32
	out   []wanted
	v4    map[bool]bool // families that there are filters for
}

func (p *plan) add(chain uint32, priority uint16, f flower.Filter, count ...hwabstraction.RuleID) {
	f.Port, f.Chain, f.Priority = p.port, chain, priority
	if !f.All && f.IPv4 {
		f.Priority++
	}
	f.SkipHW, f.SkipSW, f.Cookie = p.skipHW, p.skipSW, cookie(count)
	p.out = append(p.out, wanted{Filter: f, count: count})
}

func slow() []flower.Action { return []flower.Action{flower.Goto{Chain: SlowChain}} }

// gate sends every packet of a chain to the slow path.
func gate(port int32, chain uint32, r rung) wanted {
	p := plan{rung: r, port: port}
	p.add(chain, gatePriority, flower.Filter{All: true, Actions: slow()})
	p.out[0].Handle = 1
	return p.out[0]
}

// enter leads packets from chain 0 into the unit's chain.
func (p *plan) enter(ipv4 bool, m flower.Match) {
	m.NoFragment = true
	p.add(entryChain, entryPriority, flower.Filter{IPv4: ipv4, Match: m, Actions: []flower.Action{flower.Goto{Chain: p.chain}}})
	if p.v4 == nil {
		p.v4 = map[bool]bool{}
	}
	p.v4[ipv4] = true
}

// finish adds what every chain needs: nothing whose hop limit is used up is
// forwarded, and what no filter takes is the slow path's.
func (p *plan) finish() []wanted {
	for _, ipv4 := range []bool{false, true} {
		if p.v4[ipv4] {
			p.add(p.chain, hopPriority, flower.Filter{IPv4: ipv4, Match: flower.Match{HopLimitMask: 0xfe}, Actions: slow()})
		}
	}
	chains := map[uint32]bool{}
	for _, w := range p.out {
		chains[w.Chain] = true
	}
	delete(chains, entryChain)
	for c := range chains {
		p.add(c, tailPriority, flower.Filter{All: true, Actions: slow()})
	}
	slices.SortStableFunc(p.out, func(a, b wanted) int { return cmp.Compare(a.Chain, b.Chain) })
	return p.out
}

// take adds the filter that forwards: rewrite, checksums, out of a port. In an
// address that is rewritten, a transport checksum has a part: its protocol must
// be told.
func (p *plan) take(chain uint32, m flower.Match, before []flower.Action, w flower.Rewrite, after []flower.Action, out int32, count []hwabstraction.RuleID) {
	ipv4 := isIPv4(m)
	acts := append(slices.Clone(before), w)
	var sum flower.Checksum
	if ipv4 {
		sum |= flower.ChecksumIPv4
	}
	if w.Destination.IsValid() {
		sum |= map[uint8]flower.Checksum{unix.IPPROTO_TCP: flower.ChecksumTCP, unix.IPPROTO_UDP: flower.ChecksumUDP}[m.Protocol]
	}
	if sum != 0 {
		acts = append(acts, sum)
	}
	acts = append(append(acts, after...), flower.Redirect{Port: out})
	p.add(chain, rulePriority, flower.Filter{IPv4: ipv4, Match: m, Actions: acts}, count...)
}

func isIPv4(m flower.Match) bool {
	return m.Destination.IsValid() && m.Destination.Addr().Is4() || m.Source.IsValid() && m.Source.Addr().Is4()
}

// protocols are those that may be fast: any, unless an address is rewritten;
// without conntrack only the one that needs none to tell new from established.
func (p *plan) protocols(rewrites, judged bool) []uint8 {
	switch {
	case judged && !p.ct:
		return []uint8{unix.IPPROTO_TCP}
	case rewrites:
		return []uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP}
	}
	return []uint8{0}
}

// planVM gives the filters of a VM on every uplink. Nothing is fast where no
// verdict is.
func planVM(verdicts map[netip.Addr]verdict, o owner, chain uint32, s scene, r rung) []wanted {
	if r.off {
		return nil
	}
	var out []wanted
	addrs := make([]netip.Addr, 0, len(verdicts))
	for a := range verdicts {
		addrs = append(addrs, a)
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	for _, up := range s.uplinks {
		p := &plan{rung: r, port: up.Index, chain: chain}
		for _, a := range addrs {
			switch v := verdicts[a]; {
			case v.slow():
			case v.deliver != nil && v.redirect == nil:
				p.deliver(a, v, hwabstraction.Zone(o), up, s)
			default:
				p.redirect(a, v, hwabstraction.Zone(o), up, s)
			}
		}
		if len(p.out) > 0 {
			out = append(out, p.finish()...)
		}
	}
	return out
}

// written is the address to write; none where the packet has it.
func written(a, to netip.Addr) netip.Addr {
	if a == to {
		return netip.Addr{}
	}
	return to
}

func (p *plan) deliver(a netip.Addr, v verdict, zone uint16, up ways.Port, s scene) {
	vm, ok := s.ports[v.deliver.Port]
	if !ok || vm.MTU < up.MTU || v.deliver.MAC == [6]byte{} {
		return
	}
	w := flower.Rewrite{SourceMAC: vm.MAC, DestinationMAC: v.deliver.MAC, Destination: written(a, v.to), Hop: true}
	var after []flower.Action
	if p.ct {
		after = []flower.Action{flower.Conntrack{Zone: zone, Commit: true}}
	}
	p.enter(a.Is4(), flower.Match{Destination: flower.Host(a)})
	for _, proto := range p.protocols(a != v.to, true) {
		p.take(p.chain, flower.Match{Destination: flower.Host(a), Protocol: proto}, nil, w, after, vm.Index, v.count)
	}
}

// target is the address by which a redirected packet is routed.
func target(r *hwabstraction.Redirect) netip.Addr {
	if r.To == r.Address {
		return r.Locator
	}
	return r.To
}

func (p *plan) redirect(a netip.Addr, v verdict, zone uint16, up ways.Port, s scene) {
	r := v.redirect
	hop, ok := s.hops[target(r)]
	if !ok || !s.isUplink(hop.Port) || hop.MTU < up.MTU || r.PathMTU != 0 && int(r.PathMTU) < up.MTU {
		return
	}
	w := flower.Rewrite{SourceMAC: hop.Source, DestinationMAC: hop.Destination, Destination: written(a, v.to), Hop: true}
	to := flower.Match{Destination: flower.Host(a)}
	p.enter(a.Is4(), to)
	if r.New == hwabstraction.NewRedirect {
		for _, to.Protocol = range p.protocols(a != v.to, false) {
			p.take(p.chain, to, nil, w, nil, hop.Port, v.count)
		}
		return
	}
	// TCP: new is what begins with SYN, without ACK; the slow path judges it.
	const syn, ack = 0x02, 0x10
	to.Protocol, to.Flags, to.FlagsMask = unix.IPPROTO_TCP, syn, syn|ack
	p.add(p.chain, missPriority, flower.Filter{IPv4: a.Is4(), Match: to, Actions: slow()})
	to.Flags, to.FlagsMask = 0, 0
	p.take(p.chain, to, nil, w, nil, hop.Port, v.count)
	if !p.ct || v.restored { // conntrack knows the VM's own address only
		return
	}
	to.Protocol = unix.IPPROTO_UDP
	p.add(p.chain, rulePriority, flower.Filter{
		IPv4: a.Is4(), Match: to, Actions: []flower.Action{flower.Conntrack{Zone: zone}, flower.Goto{Chain: p.chain + 1}},
	})
	to.State, to.Zone = flower.Tracked|flower.Established, zone
	p.take(p.chain+1, to, nil, w, nil, hop.Port, v.count)
}

// planEgress gives the filters of a VM's port: what its addresses send into the
// fabric. The match is the source guard.
func planEgress(sources map[netip.Addr]hwabstraction.Egress, name string, s scene, r rung) []wanted {
	vm, ok := s.ports[name]
	if !ok || r.off {
		return nil
	}
	p := &plan{rung: r, port: vm.Index, chain: egressChain}
	for _, ipv4 := range []bool{false, true} {
		p.leave(sources, ipv4, vm, s)
	}
	if len(p.out) == 0 {
		return nil
	}
	return p.finish()
}

func (p *plan) leave(sources map[netip.Addr]hwabstraction.Egress, ipv4 bool, vm ways.Port, s scene) {
	exit, ok := s.exits[ipv4]
	if !ok || !s.isUplink(exit.Port) || exit.MTU < vm.MTU {
		return
	}
	except := slices.Concat(always[ipv4], exit.Except, s.except[ipv4])
	slices.SortFunc(except, netip.Prefix.Compare)
	except = slices.Compact(except)
	if len(except) > maxExcept {
		return
	}
	w := flower.Rewrite{SourceMAC: exit.Source, DestinationMAC: exit.Destination, Hop: true}
	found := false
	for _, a := range sorted(sources) {
		e := sources[a]
		if a.Is4() != ipv4 || e.MAC == [6]byte{} {
			continue
		}
		found = true
		from := flower.Match{Source: flower.Host(a), SourceMAC: e.MAC, DestinationMAC: vm.MAC}
		p.enter(ipv4, from)
		var after []flower.Action
		if p.ct {
			after = []flower.Action{flower.Conntrack{Zone: hwabstraction.Zone(e.Stamp.Owner), Commit: true}}
		}
		for _, proto := range p.protocols(false, true) {
			p.take(p.chain, flower.Match{Source: flower.Host(a), Protocol: proto}, nil, w, after, exit.Port, []hwabstraction.RuleID{e.ID()})
		}
	}
	for _, to := range except {
		if found {
			p.add(p.chain, missPriority, missing(to))
		}
	}
}

// missing sends packets to a prefix to the slow path.
func missing(to netip.Prefix) flower.Filter {
	return flower.Filter{IPv4: to.Addr().Is4(), Match: flower.Match{Destination: to.Masked()}, Actions: slow()}
}

func sorted[V any](m map[netip.Addr]V) []netip.Addr {
	out := make([]netip.Addr, 0, len(m))
	for a := range m {
		out = append(out, a)
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}

// always are destinations that are never plain.
var always = map[bool][]netip.Prefix{
	true: {
		netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"),
		netip.MustParsePrefix("224.0.0.0/4"), netip.MustParsePrefix("255.255.255.255/32"),
	},
	false: {netip.MustParsePrefix("::/127"), netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("ff00::/8")},
}
