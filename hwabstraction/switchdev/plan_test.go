package switchdev

import (
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/ways"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

var (
	old6, here6, there6 = ip("2001:db8:a::1"), ip("2001:db8:d::1"), ip("2001:db8:e::1")
	old4, here4, there4 = ip("10.1.0.1"), ip("10.2.0.1"), ip("10.3.0.1")
	locator             = ip("2001:db8:b::1")
	vmMAC               = [6]byte{2, 5: 0x10}
)

func stamp(vm byte, epoch uint32) hwabstraction.Stamp {
	return hwabstraction.Stamp{Owner: [16]byte{0: 1, 15: vm}, Epoch: epoch}
}

func delivery(a, restore netip.Addr, s hwabstraction.Stamp) hwabstraction.Deliver {
	return hwabstraction.Deliver{Stamp: s, Address: a, Restore: restore, Port: "vm0", MAC: vmMAC}
}

func holding(d hwabstraction.Deliver) hwabstraction.Deliver { d.Hold = true; return d }

func redirection(a, to netip.Addr, s hwabstraction.Stamp, n hwabstraction.NewFlows) hwabstraction.Redirect {
	return hwabstraction.Redirect{Stamp: s, Address: a, To: to, Locator: locator, New: n}
}

// around is a scene: one uplink, one VM port, a way to everywhere.
func around() scene {
	hop := ways.Hop{Port: 1, Source: [6]byte{2, 5: 1}, Destination: [6]byte{2, 5: 0xfe}, MTU: 1500}
	s := scene{
		uplinks: []ways.Port{{Index: 1, MAC: [6]byte{2, 5: 1}, MTU: 1500}},
		ports:   map[string]ways.Port{"vm0": {Index: 7, MAC: [6]byte{2, 5: 7}, MTU: 1500}},
		hops:    map[netip.Addr]ways.Hop{there6: hop, there4: hop, locator: hop},
		exits:   map[bool]ways.Exit{false: {Hop: hop}, true: {Hop: hop}},
	}
	return s
}

// phases: what a test says of groups; everything else is off.
type phases map[hwabstraction.Stamp]phase

var (
	acting = phase{active: true, settled: true}
	hit    = phase{armed: true, hit: true}
)

func TestPlanVM(t *testing.T) {
	t.Parallel()
	first, second := stamp(1, 1), stamp(1, 2)
	for _, c := range []struct {
		name   string
		rules  []hwabstraction.Rule
		phases phases
		rung   rung
		change func(*scene)
		want   string
	}{
		{
			name: "an active delivery of a VM's own address", rules: []hwabstraction.Rule{delivery(old6, old6, first)}, phases: phases{first: acting},
			want: `
				port 1 chain 0 prio 10 ip6 dst 2001:db8:a::1/128 nofrag -> goto 16
				port 1 chain 16 prio 6 ip6 dst 2001:db8:a::1/128 -> mac 07>10 hop-1 commit ZONE out 7 {deliver 2001:db8:a::1/128}
				port 1 chain 16 prio 2 ip6 hops 0/0xfe -> goto 1
				port 1 chain 16 prio 8 all -> goto 1`,
		},
		{name: "not active", rules: []hwabstraction.Rule{delivery(old6, old6, first)}},
		{name: "holding", rules: []hwabstraction.Rule{holding(delivery(here6, old6, first))}},
		{name: "held packets are on their way", rules: []hwabstraction.Rule{holding(delivery(here6, old6, first))}, phases: phases{first: {active: true}}},
		{
			name: "a delivery address is restored", rules: []hwabstraction.Rule{holding(delivery(here4, old4, first))}, phases: phases{first: acting},
			want: `
				port 1 chain 0 prio 11 ip4 dst 10.2.0.1/32 nofrag -> goto 16
				port 1 chain 16 prio 7 ip4 dst 10.2.0.1/32 proto 6 -> mac 07>10 dst 10.1.0.1 hop-1 csum 0x9 commit ZONE out 7 {deliver 10.2.0.1/32}
				port 1 chain 16 prio 7 ip4 dst 10.2.0.1/32 proto 17 -> mac 07>10 dst 10.1.0.1 hop-1 csum 0x11 commit ZONE out 7 {deliver 10.2.0.1/32}
				port 1 chain 16 prio 3 ip4 hops 0/0xfe -> goto 1
				port 1 chain 16 prio 8 all -> goto 1`,
		},
		{
			name: "both count where their groups differ", rules: []hwabstraction.Rule{delivery(here6, old6, first), delivery(old6, old6, second)},
			phases: phases{first: acting, second: acting}, rung: rung{skipSW: true},
			want: `
				port 1 chain 0 prio 10 ip6 dst 2001:db8:a::1/128 nofrag -> goto 16 skip_sw
				port 1 chain 0 prio 10 ip6 dst 2001:db8:d::1/128 nofrag -> goto 16 skip_sw
				port 1 chain 16 prio 6 ip6 dst 2001:db8:a::1/128 proto 6 -> mac 07>10 hop-1 out 7 skip_sw {deliver 2001:db8:a::1/128}
				port 1 chain 16 prio 6 ip6 dst 2001:db8:d::1/128 proto 6 -> mac 07>10 dst 2001:db8:a::1 hop-1 csum 0x8 out 7 skip_sw {deliver 2001:db8:d::1/128} {deliver 2001:db8:a::1/128}
				port 1 chain 16 prio 2 ip6 hops 0/0xfe -> goto 1 skip_sw
				port 1 chain 16 prio 8 all -> goto 1 skip_sw`,
		},
		{
			name: "two ports for one address", rules: []hwabstraction.Rule{delivery(here6, old6, first), func() hwabstraction.Rule {
				d := delivery(old6, old6, second)
				d.Port = "vm1"
				return d
			}()},
			phases: phases{first: acting},
		},
		{
			name: "a redirect, everything", rules: []hwabstraction.Rule{redirection(old6, there6, second, hwabstraction.NewRedirect)}, phases: phases{second: hit},
			want: `
				port 1 chain 0 prio 10 ip6 dst 2001:db8:a::1/128 nofrag -> goto 16
				port 1 chain 16 prio 6 ip6 dst 2001:db8:a::1/128 proto 6 -> mac 01>fe dst 2001:db8:e::1 hop-1 csum 0x8 out 1 {redirect 2001:db8:a::1/128}
				port 1 chain 16 prio 6 ip6 dst 2001:db8:a::1/128 proto 17 -> mac 01>fe dst 2001:db8:e::1 hop-1 csum 0x10 out 1 {redirect 2001:db8:a::1/128}
				port 1 chain 16 prio 2 ip6 hops 0/0xfe -> goto 1
				port 1 chain 16 prio 8 all -> goto 1`,
		},
		{
			name: "an unmodified redirect", rules: []hwabstraction.Rule{redirection(old6, old6, second, hwabstraction.NewRedirect)}, phases: phases{second: hit},
			want: `
				port 1 chain 0 prio 10 ip6 dst 2001:db8:a::1/128 nofrag -> goto 16
				port 1 chain 16 prio 6 ip6 dst 2001:db8:a::1/128 -> mac 01>fe hop-1 out 1 {redirect 2001:db8:a::1/128}
				port 1 chain 16 prio 2 ip6 hops 0/0xfe -> goto 1
				port 1 chain 16 prio 8 all -> goto 1`,
		},
		{name: "armed, the first packet not timed", rules: []hwabstraction.Rule{redirection(old6, there6, second, 0)}, phases: phases{second: {armed: true}}},
		{
			name: "a redirect of established flows", rules: []hwabstraction.Rule{redirection(old4, there4, second, hwabstraction.NewDrop)}, phases: phases{second: hit},
			want: `
				port 1 chain 0 prio 11 ip4 dst 10.1.0.1/32 nofrag -> goto 16
				port 1 chain 16 prio 5 ip4 dst 10.1.0.1/32 proto 6 flags 0x2/0x12 -> goto 1
				port 1 chain 16 prio 7 ip4 dst 10.1.0.1/32 proto 6 -> mac 01>fe dst 10.3.0.1 hop-1 csum 0x9 out 1 {redirect 10.1.0.1/32}
				port 1 chain 16 prio 7 ip4 dst 10.1.0.1/32 proto 17 -> ct ZONE goto 17
				port 1 chain 16 prio 3 ip4 hops 0/0xfe -> goto 1
				port 1 chain 16 prio 8 all -> goto 1
				port 1 chain 17 prio 7 ip4 dst 10.1.0.1/32 proto 17 est zone ZONE -> mac 01>fe dst 10.3.0.1 hop-1 csum 0x11 out 1 {redirect 10.1.0.1/32}
				port 1 chain 17 prio 8 all -> goto 1`,
		},
		{
			name: "without conntrack only TCP", rules: []hwabstraction.Rule{redirection(old4, there4, second, hwabstraction.NewReject)}, phases: phases{second: hit}, rung: rung{skipHW: true},
			want: `
				port 1 chain 0 prio 11 ip4 dst 10.1.0.1/32 nofrag -> goto 16 skip_hw
				port 1 chain 16 prio 5 ip4 dst 10.1.0.1/32 proto 6 flags 0x2/0x12 -> goto 1 skip_hw
				port 1 chain 16 prio 7 ip4 dst 10.1.0.1/32 proto 6 -> mac 01>fe dst 10.3.0.1 hop-1 csum 0x9 out 1 skip_hw {redirect 10.1.0.1/32}
				port 1 chain 16 prio 3 ip4 hops 0/0xfe -> goto 1 skip_hw
				port 1 chain 16 prio 8 all -> goto 1 skip_hw`,
		},
		{
			name:  "restored and redirected",
			rules: []hwabstraction.Rule{delivery(here6, old6, first), redirection(old6, there6, second, hwabstraction.NewRedirect)}, phases: phases{first: acting, second: hit},
			rung: rung{ct: true},
			want: `
				port 1 chain 0 prio 10 ip6 dst 2001:db8:a::1/128 nofrag -> goto 16
				port 1 chain 0 prio 10 ip6 dst 2001:db8:d::1/128 nofrag -> goto 16
				port 1 chain 16 prio 6 ip6 dst 2001:db8:a::1/128 proto 6 -> mac 01>fe dst 2001:db8:e::1 hop-1 csum 0x8 out 1 {redirect 2001:db8:a::1/128}
				port 1 chain 16 prio 6 ip6 dst 2001:db8:a::1/128 proto 17 -> mac 01>fe dst 2001:db8:e::1 hop-1 csum 0x10 out 1 {redirect 2001:db8:a::1/128}
				port 1 chain 16 prio 6 ip6 dst 2001:db8:d::1/128 proto 6 -> mac 01>fe dst 2001:db8:e::1 hop-1 csum 0x8 out 1 {deliver 2001:db8:d::1/128} {redirect 2001:db8:a::1/128}
				port 1 chain 16 prio 6 ip6 dst 2001:db8:d::1/128 proto 17 -> mac 01>fe dst 2001:db8:e::1 hop-1 csum 0x10 out 1 {deliver 2001:db8:d::1/128} {redirect 2001:db8:a::1/128}
				port 1 chain 16 prio 2 ip6 hops 0/0xfe -> goto 1
				port 1 chain 16 prio 8 all -> goto 1`,
		},
		{name: "an older redirect alone at the restored address", rules: []hwabstraction.Rule{delivery(here6, old6, second), redirection(old6, there6, first, 0)}, phases: phases{second: acting, first: hit}, want: `
				port 1 chain 0 prio 10 ip6 dst 2001:db8:a::1/128 nofrag -> goto 16
				port 1 chain 16 prio 6 ip6 dst 2001:db8:a::1/128 proto 6 -> mac 01>fe dst 2001:db8:e::1 hop-1 csum 0x8 out 1 {redirect 2001:db8:a::1/128}
				port 1 chain 16 prio 6 ip6 dst 2001:db8:a::1/128 proto 17 -> mac 01>fe dst 2001:db8:e::1 hop-1 csum 0x10 out 1 {redirect 2001:db8:a::1/128}
				port 1 chain 16 prio 2 ip6 hops 0/0xfe -> goto 1
				port 1 chain 16 prio 8 all -> goto 1`},
		{name: "an older delivery at the restored address", rules: []hwabstraction.Rule{delivery(here6, old6, second), holding(delivery(old6, old6, first))}, phases: phases{second: acting}},
		{name: "a trap at the address", rules: []hwabstraction.Rule{delivery(old6, old6, first), hwabstraction.Trap{Stamp: stamp(9, 1), Address: old6, Rate: 1}}, phases: phases{first: acting}},
		{name: "another VM's rule at the address", rules: []hwabstraction.Rule{delivery(old6, old6, first), redirection(old6, there6, stamp(2, 9), 0)}, phases: phases{first: acting}},
		{name: "another VM's address is restored", rules: []hwabstraction.Rule{delivery(here6, old6, first), delivery(old6, old6, stamp(2, 1))}, phases: phases{first: acting, stamp(2, 1): acting}},
		{
			name: "the VM's port is gone", rules: []hwabstraction.Rule{delivery(old6, old6, first)}, phases: phases{first: acting},
			change: func(s *scene) { delete(s.ports, "vm0") },
		},
		{
			name: "the VM's port takes less than the uplink", rules: []hwabstraction.Rule{delivery(old6, old6, first)}, phases: phases{first: acting},
			change: func(s *scene) { s.uplinks[0].MTU = 9000 },
		},
		{
			name: "no plain way", rules: []hwabstraction.Rule{redirection(old6, there6, second, 0)}, phases: phases{second: hit},
			change: func(s *scene) { delete(s.hops, there6) },
		},
		{
			name: "a way that is no uplink", rules: []hwabstraction.Rule{redirection(old6, there6, second, 0)}, phases: phases{second: hit},
			change: func(s *scene) { s.hops[there6] = ways.Hop{Port: 7, MTU: 1500} },
		},
		{name: "a path that takes less than the uplink", rules: []hwabstraction.Rule{func() hwabstraction.Rule {
			r := redirection(old6, there6, second, 0)
			r.PathMTU = 1400
			return r
		}()}, phases: phases{second: hit}},
		{name: "nothing is asked for", rules: []hwabstraction.Rule{delivery(old6, old6, first)}, phases: phases{first: acting}, rung: rung{off: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m, s := newModel(), around()
			for _, r := range c.rules {
				m.put(r)
			}
			if c.change != nil {
				c.change(&s)
			}
			if c.rung == (rung{}) {
				c.rung = rung{ct: true}
			}
			o := owner(first.Owner)
			got := render(planVM(m.verdicts(o, c.phases), o, 16, s, c.rung))
			if diff := cmp.Diff(text(c.want, o), got); diff != "" {
				t.Errorf("filters (-want +got):\n%s", diff)
			}
		})
	}
}

// text is what a test wants, without the indentation.
func text(s string, o owner) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" {
			b.WriteString(strings.ReplaceAll(line, "ZONE", strconv.Itoa(int(hwabstraction.Zone(o)))) + "\n")
		}
	}
	return b.String()
}

func TestPlanEgress(t *testing.T) {
	t.Parallel()
	o := owner(stamp(1, 1).Owner)
	sources := map[netip.Addr]hwabstraction.Egress{
		old6: {Stamp: stamp(1, 1), Port: "vm0", Source: old6, MAC: vmMAC},
		old4: {Stamp: stamp(1, 1), Port: "vm0", Source: old4, MAC: vmMAC},
	}
	s := around()
	s.except = map[bool][]netip.Prefix{false: {netip.MustParsePrefix("2001:db8:a::/64")}}
	s.exits[false] = ways.Exit{Hop: s.exits[false].Hop, Except: []netip.Prefix{netip.MustParsePrefix("2001:db8:f::/64"), netip.MustParsePrefix("2001:db8:a::/64")}}
	want := text(`
		port 7 chain 0 prio 10 ip6 smac 10 dmac 07 src 2001:db8:a::1/128 nofrag -> goto 2
		port 7 chain 0 prio 11 ip4 smac 10 dmac 07 src 10.1.0.1/32 nofrag -> goto 2
		port 7 chain 2 prio 6 ip6 src 2001:db8:a::1/128 -> mac 01>fe hop-1 commit ZONE out 1 {egress 2001:db8:a::1/128 on vm0}
		port 7 chain 2 prio 4 ip6 dst ::/127 -> goto 1
		port 7 chain 2 prio 4 ip6 dst 2001:db8:a::/64 -> goto 1
		port 7 chain 2 prio 4 ip6 dst 2001:db8:f::/64 -> goto 1
		port 7 chain 2 prio 4 ip6 dst fe80::/10 -> goto 1
		port 7 chain 2 prio 4 ip6 dst ff00::/8 -> goto 1
		port 7 chain 2 prio 7 ip4 src 10.1.0.1/32 -> mac 01>fe hop-1 csum 0x1 commit ZONE out 1 {egress 10.1.0.1/32 on vm0}
		port 7 chain 2 prio 5 ip4 dst 127.0.0.0/8 -> goto 1
		port 7 chain 2 prio 5 ip4 dst 169.254.0.0/16 -> goto 1
		port 7 chain 2 prio 5 ip4 dst 224.0.0.0/4 -> goto 1
		port 7 chain 2 prio 5 ip4 dst 255.255.255.255/32 -> goto 1
		port 7 chain 2 prio 2 ip6 hops 0/0xfe -> goto 1
		port 7 chain 2 prio 3 ip4 hops 0/0xfe -> goto 1
		port 7 chain 2 prio 8 all -> goto 1`, o)
	if diff := cmp.Diff(want, render(planEgress(sources, "vm0", s, rung{ct: true}))); diff != "" {
		t.Errorf("filters (-want +got):\n%s", diff)
	}
	for name, change := range map[string]func(*scene){
		"no exit": func(s *scene) { s.exits = nil },
		"another exit": func(s *scene) {
			s.exits[false], s.exits[true] = ways.Exit{Hop: ways.Hop{Port: 7, MTU: 1500}}, ways.Exit{}
		},
		"no port":          func(s *scene) { s.ports = nil },
		"a smaller uplink": func(s *scene) { s.ports["vm0"] = ways.Port{Index: 7, MTU: 9000} },
		"too many ways": func(s *scene) {
			s.except = map[bool][]netip.Prefix{}
			for i := range maxExcept {
				s.except[false] = append(s.except[false], netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 14: byte(i >> 8), 15: byte(i)}), 128))
				s.except[true] = append(s.except[true], netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)}), 32))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := around()
			change(&s)
			if got := render(planEgress(sources, "vm0", s, rung{ct: true})); got != "" {
				t.Errorf("filters where none is plain:\n%s", got)
			}
		})
	}
}

// TestFiltersAreValid: every filter of every plan is one that a kernel takes.
func TestFiltersAreValid(t *testing.T) {
	t.Parallel()
	m := newModel()
	for _, r := range []hwabstraction.Rule{
		delivery(here6, old6, stamp(1, 1)), delivery(here4, old4, stamp(1, 1)),
		redirection(old6, there6, stamp(1, 2), hwabstraction.NewReject), redirection(old4, there4, stamp(1, 2), hwabstraction.NewDrop),
	} {
		m.put(r)
	}
	o := owner(stamp(1, 1).Owner)
	for _, r := range append(ladder(true), ladder(false)...) {
		filters := planVM(m.verdicts(o, phases{stamp(1, 1): acting, stamp(1, 2): hit}), o, 16, around(), r)
		if !r.off {
			filters = append(filters, gate(1, 16, r))
		}
		for _, w := range filters {
			if err := w.Validate(); err != nil {
				t.Errorf("%s: %v", r.name, err)
			}
		}
	}
}
