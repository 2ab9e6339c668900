package faults

import (
	"net/netip"
	"time"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/wire"
	"github.com/dpmip/dpmip/testbed/topology"
)

// commits gives a way to send a COMMIT for a VM to the management node, with its
// addresses as slots; more changes it.
func (w *world) commits(name string) func(v *voice, ticket mobility.Ticket, epoch uint32, more ...func(*wire.Message)) func() (mobility.Status, bool) {
	vm, to := w.vm(name), w.dc.Lab.Plan.Mgmt.V6
	return func(v *voice, ticket mobility.Ticket, epoch uint32, more ...func(*wire.Message)) func() (mobility.Status, bool) {
		return func() (mobility.Status, bool) {
			return v.ask(to, v.request(vm.ID, func(q *wire.Message) {
				q.AddHandoffIndicator(mobility.HandoffMove)
				q.AddLinkLayerID(mobility.MAC(vm.MAC))
				if !ticket.IsZero() {
					q.AddTicket(ticket)
				}
				q.AddEpoch(mobility.Epoch(epoch))
				if len(more) == 0 {
					more = append(more, slots(vm.Addr.Both()...))
				}
				for _, f := range more {
					f(q)
				}
			}))
		}
	}
}

func slots(list ...netip.Addr) func(*wire.Message) {
	return func(m *wire.Message) {
		for _, a := range list {
			m.AddAddress(a)
		}
	}
}

// tickets: a takeover without, with a forged, with another's and with a used one.
func tickets(w *world) {
	w.home()
	m := w.plan()
	listener := w.asHypervisor(m.to)
	m.prepare().finish() // the mover is at B, its ticket is used
	used := listener.ticket()
	commit := w.commits(mover)
	c := w.asHypervisor(topology.HVC)
	forged := mobility.Ticket{1, 2, 3, 4}
	cases := []bad{
		{"a takeover without a ticket", commit(c, mobility.Ticket{}, m.epoch+1), mobility.StatusProhibited, topology.Mgmt, mgmtRefused("129")},
		{"with a forged ticket", commit(c, forged, m.epoch+1), mobility.StatusProhibited, topology.Mgmt, mgmtRefused("129")},
		{"with a used ticket", commit(c, used, m.epoch), mobility.StatusProhibited, topology.Mgmt, mgmtRefused("129")},
		{"with a used ticket and a new epoch", commit(c, used, m.epoch+1), mobility.StatusProhibited, topology.Mgmt, mgmtRefused("129")},
		{"by the source, with the used ticket", commit(w.asHypervisor(topology.HVA), used, m.epoch), mobility.StatusProhibited, topology.Mgmt, mgmtRefused("129")},
	}
	judge(w, cases)
	// While a move to C is open, its ticket is C's only.
	next := w.plan().prepare()
	judge(w, []bad{
		{"the open move without its ticket", commit(c, mobility.Ticket{}, next.epoch), mobility.StatusProhibited, topology.Mgmt, mgmtRefused("129")},
		{"the open move with a forged ticket", commit(c, forged, next.epoch), mobility.StatusProhibited, topology.Mgmt, mgmtRefused("129")},
		{"the open move's COMMIT by another", commit(w.asHypervisor(topology.HVA), forged, next.epoch), mobility.StatusProhibited, topology.Mgmt, mgmtRefused("129")},
	})
	next.state("ready")
	next.finish()
}

// ticket waits for the ticket of a PREPARE that has come to the voice's address.
func (v *voice) ticket() (t mobility.Ticket) {
	v.w.t.Helper()
	from := v.w.dc.Lab.Plan.Mgmt.V6
	v.hear(from, 5*time.Second, func(m *wire.Message) bool {
		var ok bool
		t, ok = m.Ticket()
		return ok && m.Type == wire.TypeRequest
	})
	if t.IsZero() {
		v.w.t.Fatalf("no PREPARE with a ticket has come to %s", v.addr)
	}
	return t
}

// stolen: the ticket of an open move in other hands is worth nothing, and in the
// right ones only for what was prepared.
func stolen(w *world) {
	w.home()
	w.quiesce()
	m := w.plan()
	vm, beside := w.vm(mover), w.vm("vm2")
	b := w.asHypervisor(m.to)
	m.prepare()
	ticket := b.ticket()
	thief, source := w.asHypervisor(topology.HVC), w.asHypervisor(m.from)
	commit, others := w.commits(mover), w.commits("vm2")
	prohibited := func(name string, send func() (mobility.Status, bool)) bad {
		return bad{name, send, mobility.StatusProhibited, topology.Mgmt, mgmtRefused("129")}
	}
	mismatch := func(name string, send func() (mobility.Status, bool)) bad {
		return bad{name, send, mobility.StatusPairMismatch, topology.Mgmt, mgmtRefused("159")}
	}
	delivery := func(old, d netip.Addr) func(*wire.Message) {
		return func(q *wire.Message) { q.AddDelivery(mobility.Delivery{Old: old, D: d}) }
	}
	pool := netip.MustParseAddr("2001:db8:b:d::1234:5678")
	kept := slots(vm.Addr.Both()...)
	judge(w, []bad{
		prohibited("by a third hypervisor", commit(thief, ticket, m.epoch)),
		prohibited("by a third hypervisor, with the next epoch", commit(thief, ticket, m.epoch+1)),
		prohibited("by the source", commit(source, ticket, m.epoch)),
		prohibited("by the destination, with another epoch", commit(b, ticket, m.epoch+1)),
		prohibited("by the destination, for another VM", others(b, ticket, m.epoch)),
		mismatch("by the destination, without one of the kept slots", commit(b, ticket, m.epoch, slots(vm.Addr.V6))),
		mismatch("by the destination, with another VM's delivery", commit(b, ticket, m.epoch, kept, delivery(beside.Addr.V6, pool))),
		mismatch("by the destination, with a delivery that was not prepared", commit(b, ticket, m.epoch, kept, delivery(vm.Addr.V6, pool))),
	})
	m.state("ready")
	m.finish()
}

// recorded: a COMMIT that somebody has recorded and sends again, from the right
// place, gets the Reply of then while it is the last word of its sender, and a
// refusal afterwards; it changes nothing.
func recorded(w *world) {
	w.home()
	m := w.plan()
	at, _ := w.dc.Lab.Plan.Hypervisor(m.to)
	listener := w.speak(topology.Mgmt, w.dc.Lab.Plan.Mgmt.V6, nil)
	m.prepare()
	m.release()
	m.carry()
	m.activate(slower(10 * time.Second))
	_, bytes := listener.record(at.Locator.V6, slower(5*time.Second), func(q *wire.Message) bool {
		_, ok := q.Ticket()
		return ok && q.Type == wire.TypeRequest
	})
	if bytes == nil {
		w.t.Fatalf("no COMMIT of %s has come to the management node", m.to)
	}
	m.confirmed()
	b := w.asHypervisor(m.to)
	again := func() (mobility.Status, bool) { return b.ask(w.dc.Lab.Plan.Mgmt.V6, bytes) }
	judge(w, []bad{{"the COMMIT again", again, mobility.StatusAccepted, topology.Mgmt, mgmtEvent("request_repeated")}})
	w.plan().prepare().finish()
	judge(w, []bad{{"the COMMIT again, the VM has moved on", again, mobility.StatusTimestampMismatch, topology.Mgmt, mgmtEvent("request_outside_window")}})
	w.restart(topology.Mgmt)
	judge(w, []bad{{"the COMMIT again, to a successor", again, mobility.StatusTimestampMismatch, topology.Mgmt, mgmtEvent("request_outside_window")}})
}
