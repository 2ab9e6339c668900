package faults

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/wire"
	"github.com/dpmip/dpmip/testbed/scenario"
	"github.com/dpmip/dpmip/testbed/topology"
)

const silence mobility.Status = 255

// counters of the three programs, by event or status.
func mgmtTransport(e string) string { return `dpmip_mgmt_transport_total{event="` + e + `"}` }
func mgmtEvent(e string) string     { return `dpmip_mgmt_registration_events_total{event="` + e + `"}` }
func mgmtRefused(s string) string {
	return `dpmip_mgmt_requests_total{detail="` + s + `",result="refused"}`
}
func agentTransport(e string) string  { return `dpmip_agent_transport_total{event="` + e + `"}` }
func agentEvent(e string) string      { return `dpmip_agent_events_total{event="` + e + `"}` }
func routerTransport(e string) string { return `dpmip_router_transport_total{event="` + e + `"}` }
func routerMessage(e string) string   { return `dpmip_router_messages_total{event="` + e + `"}` }

// bad is one thing that nobody should send.
type bad struct {
	name    string
	send    func() (mobility.Status, bool) // what was answered
	want    mobility.Status
	at      string // whose counters
	counter string
}

// judge sends each and asserts answer and counter; afterwards, that nothing has
// changed and no packet was lost.
func judge(w *world, cases []bad) {
	w.t.Helper()
	w.quiesce()
	f := w.talk()
	before := w.snapshot()
	for _, c := range cases {
		was := w.metrics(c.at)[c.counter]
		got, answered := c.send()
		if !answered {
			got = silence
		}
		if got != c.want {
			w.t.Errorf("%s: answered %v (answered at all: %v), want %v (255 = silence)", c.name, got, answered, c.want)
		}
		w.eventually(c.name+": "+c.counter+" raised", func() string {
			if w.metrics(c.at)[c.counter] > was {
				return ""
			}
			return "it is not"
		})
		if d := cmp.Diff(before, w.snapshot()); d != "" {
			w.t.Fatalf("%s has changed something (-before +after)\n%s", c.name, d)
		}
	}
	f.whole()
}

// silent is for what is sent without waiting for an answer.
func silent(v *voice, to netip.Addr, b []byte) func() (mobility.Status, bool) {
	return func() (mobility.Status, bool) { v.say(to, b); return 0, false }
}

// TestBadInput sends bad messages to each kind of program.
func TestBadInput(t *testing.T) {
	family(t, scenario.Settings{}, nil, []testCase{
		{"malformed", malformed},
		{"not authentic", notAuthentic},
		{"reflected and misdirected", reflected},
		{"replayed and out of time", replayed},
		{"not allowed at the management node", notAllowed},
		{"tickets", tickets},
		{"a stolen ticket", stolen},
		{"a recorded COMMIT", recorded},
		{"at an agent", atAgent},
		{"at a router", atRouter},
	})
}

// patch gives a copy of b with bytes changed.
func patch(b []byte, at int, with ...byte) []byte {
	c := append([]byte(nil), b...)
	copy(c[at:], with)
	return c
}

func malformed(w *world) {
	to := w.dc.Lab.Plan.Mgmt.V6
	v := w.asHypervisor(topology.HVB)
	v.key = nil
	good := v.request("vm1@dc1.example", nil)
	tail := func(o ...byte) []byte { // a Request with these bytes as its options
		b := append(append([]byte(nil), good[:12]...), o...)
		for len(b)%8 != 0 {
			b = append(b, 0)
		}
		b[1] = byte(len(b)/8 - 1)
		return b
	}
	var cases []bad
	for _, c := range []struct {
		name, reason string
		b            []byte
	}{
		{"header length beyond the message", "short_message", patch(good, 1, good[1]+3)},
		{"bytes behind the message", "trailing_bytes", append(patch(good, 1), make([]byte, 8)...)},
		{"payload proto 58", "payload_proto", patch(good, 0, 58)},
		{"header shorter than a Request", "header_length", []byte{59, 0, 5, 0, 0, 0, 0, 1}},
		{"option past the end", "option_overrun", tail(8, 200, 1, 'x')},
		{"option below its minimum", "option_short", tail(22, 2, 0, 0)},
		{"two VM Identifiers", "option_duplicate", tail(8, 2, 1, 'a', 8, 2, 1, 'b')},
		{"option behind the authenticator", "option_after_auth", tail(9, 6, 1, 0, 0, 4, 0, 0, 23, 2, 0, 1)},
	} {
		cases = append(cases, bad{c.name, silent(v, to, c.b), silence, topology.Mgmt, mgmtTransport("drop_malformed_" + c.reason)})
	}
	unknown := patch(good, 2, 99)
	cases = append(cases, bad{"unknown type", silent(v, to, unknown), silence, topology.Mgmt, mgmtEvent("binding_error_sent")})
	judge(w, cases)
}

func notAuthentic(w *world) {
	to := w.dc.Lab.Plan.Mgmt.V6
	k := w.keys(topology.HVB)
	plain, wrong, unknown := w.asHypervisor(topology.HVB), w.asHypervisor(topology.HVB), w.asHypervisor(topology.HVB)
	plain.key = nil
	wrong.key = w.key(k.toMgmt, []byte("a guess"))
	unknown.key = w.key(999999, k.secret)
	id := w.vm(mover).ID
	beat := func(m *wire.Message) []byte {
		m.Reset(wire.TypeHeartbeat)
		m.Heartbeat.Sequence = 7
		return plain.sign(m)
	}
	judge(w, []bad{
		{"no authenticator", func() (mobility.Status, bool) { return plain.ask(to, plain.request(id, nil)) }, mobility.StatusAuthFailed, topology.Mgmt, mgmtTransport("drop_auth_missing")},
		{"a wrong key", func() (mobility.Status, bool) { return wrong.ask(to, wrong.request(id, nil)) }, mobility.StatusAuthFailed, topology.Mgmt, mgmtTransport("drop_auth_mismatch")},
		{"counted as a refusal too", func() (mobility.Status, bool) { return wrong.ask(to, wrong.request(id, nil)) }, mobility.StatusAuthFailed, topology.Mgmt, mgmtEvent("request_auth_failed")},
		{"an unknown SPI", func() (mobility.Status, bool) { return unknown.ask(to, unknown.request(id, nil)) }, mobility.StatusAuthFailed, topology.Mgmt, mgmtTransport("drop_auth_spi_unknown")},
		{"a heartbeat without authenticator", silent(plain, to, beat(&wire.Message{})), silence, topology.Mgmt, mgmtTransport("drop_auth_missing")},
	})
}

func reflected(w *world) {
	p := &w.dc.Lab.Plan
	to := p.Mgmt.V6
	a, _ := p.Hypervisor(topology.HVA)
	b, _ := p.Hypervisor(topology.HVB)
	kb := w.keys(topology.HVB)
	id := w.vm(mover).ID
	back := w.speak(topology.HVB, b.Locator.V6, w.key(kb.toPeer, kb.secret)) // what M signs for B, sent to M
	borrowed := w.asHypervisor(topology.HVA)
	borrowed.key = w.key(kb.toMgmt, kb.secret) // B's key at A
	stranger := w.speak(topology.CN, p.CN.V6, w.key(kb.toMgmt, kb.secret))
	toA := w.asHypervisor(topology.HVB)
	beat := &wire.Message{}
	beat.Reset(wire.TypeHeartbeat)
	beat.Heartbeat.Sequence = 9
	judge(w, []bad{
		{"the management node's own Request", func() (mobility.Status, bool) { return back.ask(to, back.request(id, nil)) }, mobility.StatusAuthFailed, topology.Mgmt, mgmtTransport("drop_auth_spi_direction")},
		{"the management node's own heartbeat", silent(back, to, back.sign(beat)), silence, topology.Mgmt, mgmtTransport("drop_auth_spi_direction")},
		{"B's Request, sent by A", func() (mobility.Status, bool) { return borrowed.ask(to, borrowed.request(id, nil)) }, mobility.StatusAuthFailed, topology.Mgmt, mgmtTransport("drop_auth_spi_direction")},
		{"from outside the inventory", func() (mobility.Status, bool) { return stranger.askInVain(to, stranger.request(id, nil)) }, silence, topology.Mgmt, mgmtTransport("drop_peer_unknown")},
		{"B's Request to A", func() (mobility.Status, bool) { return toA.askInVain(a.Locator.V6, toA.request(id, nil)) }, silence, topology.HVA, agentTransport("drop_peer_unknown")},
		{"B's Request to a router", func() (mobility.Status, bool) { return toA.askInVain(p.Routers[0].Locator.V6, toA.request(id, nil)) }, silence, p.Routers[0].Name, routerTransport("drop_peer_unknown")},
	})
}

func replayed(w *world) {
	to := w.dc.Lab.Plan.Mgmt.V6
	v := w.asHypervisor(topology.HVC)
	vm := w.vm("vm4") // at home at hvC
	refresh := func(m *wire.Message) {
		m.AddAddress(vm.Addr.V6)
		m.AddAddress(vm.Addr.V4)
		m.AddHandoffIndicator(mobility.HandoffUnchanged)
		m.AddEpoch(mobility.Epoch(w.binding(vm.ID).Epoch))
		m.AddLinkLayerID(mobility.MAC(vm.MAC))
	}
	first := v.request(vm.ID, refresh)
	if s, ok := v.ask(to, first); !ok || s != mobility.StatusAccepted {
		w.t.Fatalf("a valid refresh: %v, answered: %v", s, ok)
	}
	early, late := w.asHypervisor(topology.HVC), w.asHypervisor(topology.HVC)
	early.shift, late.shift = -time.Minute, time.Minute
	judge(w, []bad{
		{"the last Request again: its Reply again", func() (mobility.Status, bool) { return v.ask(to, first) }, mobility.StatusAccepted, topology.Mgmt, mgmtEvent("request_repeated")},
		{"a Request of a minute ago", func() (mobility.Status, bool) { return early.ask(to, early.request(vm.ID, refresh)) }, mobility.StatusTimestampMismatch, topology.Mgmt, mgmtEvent("request_outside_window")},
		{"a Request of the next minute", func() (mobility.Status, bool) { return late.ask(to, late.request(vm.ID, refresh)) }, mobility.StatusTimestampMismatch, topology.Mgmt, mgmtEvent("request_outside_window")},
		{"an older Request after a newer one", func() (mobility.Status, bool) {
			old := v.request(vm.ID, refresh)
			if s, _ := v.ask(to, v.request(vm.ID, refresh)); s != mobility.StatusAccepted {
				w.t.Errorf("a newer refresh: %v", s)
			}
			return v.ask(to, old)
		}, mobility.StatusTimestampOlder, topology.Mgmt, mgmtEvent("request_older")},
	})
}

func notAllowed(w *world) {
	w.home()
	p := &w.dc.Lab.Plan
	to := p.Mgmt.V6
	v := w.asHypervisor(topology.HVB)
	kr := w.keys(topology.ToRB)
	tor := w.speak(topology.ToRB, p.Routers[1].Locator.V6, w.key(kr.toMgmt, kr.secret))
	mine, other := w.vm("vm3"), w.vm(mover) // B's own, and A's
	foreign, nobody := netip.MustParseAddr("2001:db8:c:1::99"), netip.MustParseAddr("203.0.113.9")
	free := netip.MustParseAddr("2001:db8:b:1::77")
	slots := func(list ...netip.Addr) func(*wire.Message) {
		return func(m *wire.Message) {
			for _, a := range list {
				m.AddAddress(a)
			}
			m.AddHandoffIndicator(mobility.HandoffNew)
		}
	}
	ask := func(v *voice, vm string, fill func(*wire.Message)) func() (mobility.Status, bool) {
		return func() (mobility.Status, bool) { return v.ask(to, v.request(vm, fill)) }
	}
	refused := func(name string, send func() (mobility.Status, bool), s mobility.Status, detail string) bad {
		return bad{name, send, s, topology.Mgmt, mgmtRefused(detail)}
	}
	with := func(f func(*wire.Message), more ...func(*wire.Message)) func(*wire.Message) {
		return func(m *wire.Message) {
			f(m)
			for _, g := range more {
				g(m)
			}
		}
	}
	epoch := func(e uint32) func(*wire.Message) {
		return func(m *wire.Message) { m.AddEpoch(mobility.Epoch(e)) }
	}
	judge(w, []bad{
		{"without P", func() (mobility.Status, bool) {
			return v.ask(to, v.request(mine.ID, func(m *wire.Message) { m.Request.Flags = wire.RequestAck; m.AddAddress(mine.Addr.V6) }))
		}, mobility.StatusNotSupported, topology.Mgmt, mgmtEvent("request_without_p")},
		{"without a VM Identifier", ask(v, "", slots(mine.Addr.V6)), mobility.StatusMissingID, topology.Mgmt, mgmtEvent("request_without_vm")},
		{"with another's locator", ask(v, mine.ID, with(slots(mine.Addr.V6), func(m *wire.Message) { m.AddAlternateCareOf(p.Hypervisors[0].Locator.V6) })),
			mobility.StatusNotAuthorisedNode, topology.Mgmt, mgmtEvent("request_foreign_locator")},
		{"with a /64 for an address", ask(v, mine.ID, func(m *wire.Message) {
			m.AddVMAddress(wire.VMAddress{Addr: mine.Addr.V6, Bits: 64})
		}), mobility.StatusMalformedPrefix, topology.Mgmt, mgmtEvent("request_malformed_prefix")},
		refused("a router that registers", ask(tor, mine.ID, slots(mine.Addr.V6)), mobility.StatusNotAuthorisedNode, "154"),
		refused("no address", ask(v, mine.ID, slots()), mobility.StatusMissingAddress, "158"),
		refused("an address twice", ask(v, mine.ID, slots(mine.Addr.V6, mine.Addr.V6)), mobility.StatusPairMismatch, "159"),
		refused("an address outside every right", ask(v, mine.ID, slots(mine.Addr.V6, foreign)), mobility.StatusAddress6, "155"),
		refused("an IPv4 address outside every right", ask(v, mine.ID, slots(mine.Addr.V6, nobody)), mobility.StatusAddress4, "171"),
		refused("another VM's address", ask(v, mine.ID, slots(mine.Addr.V6, other.Addr.V6)), mobility.StatusAddress6, "155"),
		refused("a VM that is in no inventory", ask(v, "ghost@dc1.example", slots(free)), mobility.StatusNotVMForThisNode, "153"),
		refused("another's VM, by its address", ask(v, other.ID, slots(other.Addr.V6, other.Addr.V4)), mobility.StatusProhibited, "129"),
		refused("another's VM, refreshed", ask(v, other.ID, with(slots(other.Addr.V6), epoch(w.binding(other.ID).Epoch))), mobility.StatusProhibited, "129"),
		// Lifetime 0 from who does not serve the VM is an anchor's question: may I
		// remove my redirect. Who has none may; the binding stays.
		{"another's VM, deregistered", func() (mobility.Status, bool) {
			return v.ask(to, v.request(other.ID, func(m *wire.Message) {
				m.Request.Lifetime = 0
				slots(other.Addr.V6, other.Addr.V4)(m)
				m.AddEpoch(mobility.Epoch(w.binding(other.ID).Epoch))
			}))
		}, mobility.StatusAccepted, topology.Mgmt, `dpmip_mgmt_requests_total{detail="drain",result="accepted"}`},
	})
	w.claimed(topology.HVB, mine.ID, other)
}

// claimed checks that the operator hears of a hypervisor that has claimed a VM
// that runs elsewhere, and its address for another.
func (w *world) claimed(by, vm string, other topology.VM) {
	w.t.Helper()
	found := w.check("claims").Found
	for _, want := range []string{
		fmt.Sprintf("%s claims vm %s, which %s serves", by, other.ID, w.binding(other.ID).Hypervisor),
		fmt.Sprintf("%s claims %s for vm %s, which belongs to vm %s at ", by, other.Addr.V6, vm, other.ID),
	} {
		if !strings.Contains(found, want) {
			w.t.Errorf("doctor does not say that %s: %s", want, found)
		}
	}
	for of, m := 0, w.metrics(topology.Mgmt); of < 2; of++ {
		if key := fmt.Sprintf("dpmip_mgmt_claims_total{hypervisor=%q,of=%q}", by, []string{"address", "vm"}[of]); m[key] == 0 {
			w.t.Errorf("%s is not counted", key)
		}
	}
}
