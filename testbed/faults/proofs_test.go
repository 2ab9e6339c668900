package faults

import (
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/testbed/scenario"
	"github.com/dpmip/dpmip/testbed/topology"
)

// proved is a data centre whose proofs have a short deadline; torA and the spine
// are observers, and routed moves are rehearsed.
var proved = scenario.Settings{Policy: `proofs = { observers = ["torA", "spine"], deadline = "1s", probes = ["2001:db8:fffe::/64", "10.254.0.0/24"] }`}

// sourceFilter lets hvB send from its own IPv6 addresses only.
const sourceFilter = `chain in { type filter hook prerouting priority raw; iifname "hvB" ip6 saddr 2001:db8:a:1::/64 drop; }`

// bend makes a router do something wrong; unbend takes it back.
func (w *world) bend(node, rules string) (unbend func()) {
	w.t.Helper()
	run := func(text string) {
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = strings.NewReader(text)
		w.must(w.dc.Lab.Node(node).NS.Run(cmd))
	}
	run("table inet bent {\n" + rules + "\n}\n")
	return func() { w.t.Helper(); run("delete table inet bent\n") }
}

// receipt is that of the move's epoch.
func (m *move) receipt() *v1.Receipt {
	m.w.t.Helper()
	res, err := m.w.mgmt().GetReceipt(m.w.ctx, connect.NewRequest(&v1.GetReceiptRequest{Vm: m.id, Epoch: m.epoch}))
	m.w.must(err)
	return res.Msg.Receipt
}

// proofs lists those of the receipt, in few words.
func (m *move) proofs() []string {
	m.w.t.Helper()
	var out []string
	for _, p := range m.receipt().Move.Proofs {
		out = append(out, fmt.Sprintf("%s %s %s>%s %s", p.Kind, p.Address, p.From, p.To, p.State))
	}
	return out
}

// hasProof waits until the receipt lists a proof.
func (m *move) hasProof(want string) {
	m.w.t.Helper()
	m.w.eventually("proof "+want, func() string {
		if got := m.proofs(); !slices.Contains(got, want) {
			return strings.Join(got, ", ")
		}
		return ""
	})
}

// rehearsed checks that an observer has seen the move's probe address of a
// family come and go.
func (m *move) rehearsed(is4 bool, observer string) {
	m.w.t.Helper()
	var got []string
	for _, p := range m.receipt().Move.Proofs {
		if a, err := netip.ParseAddr(p.Address); err == nil && a.Is4() == is4 && p.From == observer && probeRange(a) {
			got = append(got, p.Kind+" "+p.State)
		}
	}
	slices.Sort(got)
	if want := []string{"announced seen", "reached seen", "retracted seen"}; !slices.Equal(got, want) {
		m.w.t.Errorf("of the probe address %s has %q, want %q", observer, got, want)
	}
}

// probeRange reports whether an address lies in the ranges of proved.
func probeRange(a netip.Addr) bool {
	return netip.MustParsePrefix("2001:db8:fffe::/64").Contains(a) || netip.MustParsePrefix("10.254.0.0/24").Contains(a)
}

// notReady asks for the move, which a proof must stop, and checks that the VM
// has not noticed.
func (m *move) notReady(f *flows, why ...string) {
	m.w.t.Helper()
	_, err := m.ask(20 * time.Second)
	for _, text := range append(why, "not proved") {
		if err == nil || !strings.Contains(err.Error(), text) {
			m.w.t.Fatalf("the move is not refused by %q: %v", text, err)
		}
	}
	m.w.eventually("the move is rolled back", func() string {
		v, err := m.w.record(m.w.agent(m.to), m.id)
		if err != nil || v != nil && v.Role != "gone" && len(v.Deliveries) > 0 {
			return fmt.Sprintf("%s still has %v, %v", m.to, v, err)
		}
		return ""
	})
	f.more("after the abort")
}

// TestProofsStopAMove: a network that would not carry the VM's packets is seen
// before the VM is touched.
func TestProofsStopAMove(t *testing.T) {
	family(t, proved, nil, []testCase{
		{"strict reverse paths at the destination's router", func(w *world) {
			f := w.talk()
			w.must(w.dc.Lab.Node(topology.ToRB).NS.Sysctls("net.ipv4.conf.hvB.rp_filter=1"))
			w.plan().notReady(f, "that hvB may send from "+w.vm(mover).Addr.V4.String(), "uRPF")
			w.must(w.dc.Lab.Node(topology.ToRB).NS.Sysctls("net.ipv4.conf.hvB.rp_filter=0"))
			w.goes(f)
		}},
		{"a source filter at the destination's router", func(w *world) {
			f := w.talk()
			unbend := w.bend(topology.ToRB, sourceFilter)
			w.plan().notReady(f, "that hvB may send from "+w.vm(mover).Addr.V6.String())
			unbend()
			w.goes(f)
		}},
		{"the way to the delivery addresses is blocked", func(w *world) {
			f := w.talk()
			unbend := w.bend(topology.Spine, `chain through { type filter hook forward priority 0; ip6 daddr 2001:db8:b:d::/64 drop; ip daddr 10.2.200.0/24 drop; }`)
			w.plan().notReady(f, "leads from hvA to hvB", "leads from torA to hvB")
			unbend()
			w.goes(f)
		}},
	})
}

// TestProofsAreWhatStops: where nobody looks, the same network lets the move be
// ready, and the VM would go where nothing that it sends comes through.
func TestProofsAreWhatStops(t *testing.T) {
	alone(t, scenario.Settings{Policy: `proofs = { source = "off" }`}, nil, func(w *world) {
		f := w.talk()
		unbend := w.bend(topology.ToRB, sourceFilter)
		m := w.plan().prepare()
		if got := m.listed(); !slices.Contains(got, "delivery seen") || slices.ContainsFunc(got, func(p string) bool { return strings.HasPrefix(p, "source") }) {
			t.Errorf("proofs: %v", got)
		}
		w.must(m.abort(10 * time.Second))
		unbend()
		f.whole()
	})
}

// TestProofsRequired: what nobody can prove is refused where policy wants it.
func TestProofsRequired(t *testing.T) {
	alone(t, scenario.Settings{Policy: `proofs = { delivery = "require" }`}, nil, func(w *world) {
		f := w.talk()
		m := w.plan()
		w.kill(m.to)
		w.eventually("the move is refused", func() string {
			if _, err := m.ask(0); err == nil || !strings.Contains(err.Error(), m.to+" has no admin channel to be asked by") {
				if err == nil { // its connection has not ended yet
					_, err := w.mgmt().AbortMove(w.ctx, connect.NewRequest(&v1.AbortMoveRequest{Vm: m.id, DestinationFencedBy: "the test", WaitNs: int64(10 * time.Second)}))
					w.must(err)
				}
				return fmt.Sprint(err)
			}
			return ""
		})
		w.start(m.to)
		w.eventually("the move is possible", func() string {
			if got, err := m.ask(10 * time.Second); err != nil || got.State != "ready" {
				return fmt.Sprint(got.GetState(), err)
			}
			return ""
		})
		m.finish()
		f.whole()
	})
}

// listed are the proofs of a move that has no receipt yet.
func (m *move) listed() (out []string) {
	m.w.t.Helper()
	res, err := m.w.mgmt().ListMoves(m.w.ctx, connect.NewRequest(&v1.ListMovesRequest{Vm: m.id, Open: true}))
	m.w.must(err)
	for _, x := range res.Msg.Moves {
		for _, p := range x.Proofs {
			out = append(out, p.Kind+" "+p.State)
		}
	}
	return out
}

// goes moves the VM, which must be possible now, and back; nothing was lost.
func (w *world) goes(f *flows) {
	w.t.Helper()
	m := w.plan().prepare()
	m.finish()
	for _, p := range m.proofs() {
		if !strings.HasSuffix(p, " seen") {
			w.t.Errorf("the move went on: %s", p)
		}
	}
	w.home()
	f.whole()
}

// TestProofsOfRoutes: after a routed move the observers are seen to have the
// routes, and to have them no longer when the VM is home.
func TestProofsOfRoutes(t *testing.T) {
	family(t, proved, nil, []testCase{
		{"there and back", func(w *world) {
			f := w.talk()
			a := w.vm(mover).Addr
			m := w.routed().prepare()
			m.finish()
			for _, x := range a.Both() {
				for _, o := range []string{topology.ToRA, topology.Spine} {
					m.rehearsed(x.Is4(), o)
					m.hasProof(fmt.Sprintf("installed %s %s>hvB seen", x, o))
					m.hasProof(fmt.Sprintf("served %s %s>hvB seen", x, o))
				}
			}
			back := w.routed()
			back.to = topology.HVA
			back.prepare().finish()
			for _, x := range a.Both() {
				back.hasProof(fmt.Sprintf("withdrawn %s torA>hvA seen", x))
			}
			f.whole()
		}},
		{"a router that would say installed and forward elsewhere", func(w *world) {
			f := w.talk()
			unbend := w.bend(topology.Spine, `chain through { type filter hook forward priority 0; iifname "torA" ip6 daddr 2001:db8:fffe::/64 drop; }`)
			w.routed().notReady(f, "that torA reaches hvB at probe address 2001:db8:fffe:")
			unbend()
			w.routesTo("")
			f.whole()
		}},
		{"a router that the destination's announcement does not reach", func(w *world) {
			f := w.talk()
			w.kill(topology.Spine)
			w.routed().notReady(f, "spine has not confirmed probe address")
			w.start(topology.Spine)
			w.routesTo("")
			f.whole()
		}},
		{"a router that says installed and forwards elsewhere", func(w *world) {
			f := w.talk()
			a := w.vm(mover).Addr.V6
			unbend := w.bend(topology.Spine, fmt.Sprintf(`chain through { type filter hook forward priority 0; iifname "torA" ip6 daddr %s udp dport 5437 drop; }`, a))
			m := w.routed().prepare()
			m.finish()
			m.hasProof(fmt.Sprintf("installed %s torA>hvB seen", a))
			m.hasProof(fmt.Sprintf("served %s torA>hvB missing", a))
			m.state("draining")
			unbend()
			m.hasProof(fmt.Sprintf("served %s torA>hvB seen", a))
			m.state("done")
			w.home()
			f.whole()
		}},
	})
}

// check is one of the management node's doctor.
func (w *world) check(name string) *v1.Check {
	w.t.Helper()
	res, err := w.mgmt().Doctor(w.ctx, connect.NewRequest(&v1.DoctorRequest{}))
	w.must(err)
	for _, c := range res.Msg.Checks {
		if c.Name == name {
			return c
		}
	}
	w.t.Fatalf("doctor has no check %q", name)
	return nil
}

// checked waits until a check of the doctor is in a state, and says why.
func (w *world) checked(name, state string, found ...string) {
	w.t.Helper()
	w.eventually("doctor's check "+name, func() string {
		c := w.check(name)
		for _, text := range found {
			if c.State != state || !strings.Contains(c.Found, text) {
				return fmt.Sprintf("%s %s, want %s, %s", c.State, c.Found, state, text)
			}
		}
		if c.State != state {
			return c.State + " " + c.Found
		}
		return ""
	})
}

// TestRoutesOfAGoneVM: when a VM that had host routes is gone, a router that goes
// on leading to where it was is told, and its address is nobody's until then.
func TestRoutesOfAGoneVM(t *testing.T) {
	s := proved
	s.Grace = 100 * time.Millisecond
	alone(t, s, nil, func(w *world) {
		w.checked("observers", "ok", "2 of 2")
		m := w.routed().prepare()
		m.finish()
		m.state("done")
		a := w.vm(mover).Addr.V6
		ns := w.dc.Lab.Node(topology.ToRA).NS
		w.must(ns.Run(exec.Command("ip", "-6", "route", "add", a.String()+"/128", "dev", "hvA", "metric", "500")))
		_, err := w.agent(topology.HVB).DetachVM(w.ctx, connect.NewRequest(&v1.DetachVMRequest{Vm: m.id, WaitNs: int64(10 * time.Second)}))
		w.must(err)
		w.routesTo("")
		w.checked("departures", "warning", a.String()+" (vm "+m.id+") at torA")
		if got := w.metrics(topology.Mgmt)["dpmip_mgmt_lingering_routes"]; got != 1 {
			w.t.Errorf("dpmip_mgmt_lingering_routes = %v, want 1", got)
		}
		w.must(ns.Run(exec.Command("ip", "-6", "route", "del", a.String()+"/128", "metric", "500")))
		w.checked("departures", "ok")
		w.checked("claims", "ok")
	})
}
