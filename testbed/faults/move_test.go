package faults

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/testbed/topology"
)

// pause is how long the VM stands still in a move.
const pause = 50 * time.Millisecond

// move is a move of the mover under way.
type move struct {
	w              *world
	vm             string // its name in the lab
	id, from, to   string
	mode, redirect string
	addresses      string
	epoch          uint32
	olds           []netip.Addr // that the VM had before, where it was renumbered
}

// plan describes a hot translated move to the next hypervisor, kept addresses.
func (w *world) plan() *move {
	return &move{w: w, vm: mover, id: w.vm(mover).ID, from: w.at, to: w.next(), mode: "hot", redirect: "translated", addresses: "keep"}
}

// renumbered is plan for a move that gives the VM new addresses.
func (w *world) renumbered() *move {
	m := w.plan()
	m.addresses = "renumber"
	return m
}

// ask asks the management node for the move and waits so long for readiness.
func (m *move) ask(wait time.Duration) (*v1.Move, error) {
	res, err := m.w.mgmt().PrepareMove(m.w.ctx, connect.NewRequest(&v1.PrepareMoveRequest{Vm: m.id, To: m.to, Mode: m.mode,
		Addresses: m.addresses, Redirect: m.redirect, NewConnections: "redirect", WaitNs: int64(wait)}))
	if err != nil {
		return nil, err
	}
	m.epoch = res.Msg.Move.Epoch
	return res.Msg.Move, nil
}

// prepare asks for the move and waits until it is ready.
func (m *move) prepare() *move {
	m.w.t.Helper()
	got, err := m.ask(slower(10 * time.Second))
	if err != nil {
		m.w.t.Fatalf("prepare %s -> %s: %v", m.from, m.to, err)
	}
	if got.State != "ready" {
		m.w.t.Fatalf("prepare %s -> %s: the move is %s: %s", m.from, m.to, got.State, got.Error)
	}
	return m
}

// state waits until the management node has the move in one of the states.
func (m *move) state(want ...string) {
	m.w.t.Helper()
	c := m.w.mgmt()
	m.w.eventually(fmt.Sprintf("epoch %d: state %v", m.epoch, want), func() string {
		res, err := c.ListMoves(m.w.ctx, connect.NewRequest(&v1.ListMovesRequest{Vm: m.id}))
		if err != nil {
			return err.Error()
		}
		for _, x := range res.Msg.Moves {
			if x.Epoch == m.epoch {
				if slices.Contains(want, x.State) {
					return ""
				}
				return fmt.Sprintf("it is %s %s", x.State, x.Error)
			}
		}
		return "it is not listed"
	})
}

// release tells the source that the VM stops there now.
func (m *move) release() {
	m.w.t.Helper()
	if _, err := m.w.agent(m.from).ReleaseVM(m.w.ctx, connect.NewRequest(&v1.ReleaseVMRequest{Vm: m.id})); err != nil {
		m.w.t.Fatalf("release at %s: %v", m.from, err)
	}
}

// leave takes the VM away from the source, arrive lets it run at the destination.
func (m *move) leave() { m.w.t.Helper(); m.w.must(m.w.dc.Lab.Switch.Disconnect(m.vm)) }

func (m *move) arrive() {
	m.w.t.Helper()
	m.w.must(m.w.dc.Lab.Switch.Connect(m.vm, m.to))
	if m.vm == mover {
		m.w.at = m.to
	}
}

func (m *move) carry() {
	m.w.t.Helper()
	m.leave()
	m.w.pass(pause)
	m.arrive()
}

// activate tells the destination that the VM runs there; it waits so long for
// the COMMIT's answer and says whether there was one.
func (m *move) activate(wait time.Duration) bool {
	m.w.t.Helper()
	res, err := m.w.agent(m.to).ActivateVM(m.w.ctx, connect.NewRequest(&v1.ActivateVMRequest{Vm: m.id, WaitNs: int64(wait)}))
	if err != nil {
		m.w.t.Fatalf("activate at %s: %v", m.to, err)
	}
	if m.addresses == "renumber" {
		m.w.slots, m.olds = m.w.addresses(res.Msg.Addresses), m.w.addresses(res.Msg.OldAddresses)
		m.w.must(m.w.dc.Lab.Renumber(mover, m.w.slots, m.olds))
	}
	return res.Msg.Committed
}

func (w *world) addresses(list []string) (out []netip.Addr) {
	w.t.Helper()
	for _, s := range list {
		a, err := netip.ParseAddr(s)
		w.must(err)
		out = append(out, a)
	}
	return out
}

// drained waits until nothing leads to the VM's old addresses any more, and
// forgets them. Nobody may use them any more.
func (m *move) drained() {
	m.w.t.Helper()
	m.w.eventually("old addresses drained", func() string {
		for _, a := range m.w.binding(m.id).Addresses {
			if !a.Current && a.State != "quarantine" {
				return a.Address + " is " + a.State
			}
		}
		return ""
	})
	m.w.must(m.w.dc.Lab.Forget(mover, m.olds))
	m.olds = nil
}

// committed waits until the destination's COMMIT is accepted.
func (m *move) committed() {
	m.w.t.Helper()
	c := m.w.agent(m.to)
	m.w.eventually("COMMIT by "+m.to, func() string {
		v, err := m.w.record(c, m.id)
		switch {
		case err != nil:
			return err.Error()
		case v == nil:
			return "the VM is not known there"
		case v.CommitOwed || !v.Registered:
			return fmt.Sprintf("owed: %v, registered: %v %s", v.CommitOwed, v.Registered, v.Error)
		}
		return ""
	})
}

// confirmed waits until every anchor and router has confirmed the move.
func (m *move) confirmed() {
	m.w.t.Helper()
	m.committed()
	c := m.w.mgmt()
	m.w.eventually(fmt.Sprintf("move to %s confirmed by all", m.to), func() string {
		b, err := c.GetBinding(m.w.ctx, connect.NewRequest(&v1.GetBindingRequest{Vm: m.id}))
		if err != nil {
			return err.Error()
		}
		switch x := b.Msg.Binding; {
		case x.Hypervisor != m.to || x.Epoch != m.epoch:
			return fmt.Sprintf("the binding is %s, epoch %d; want %s, epoch %d", x.Hypervisor, x.Epoch, m.to, m.epoch)
		default:
			return unconfirmed(x)
		}
	})
}

func unconfirmed(b *v1.Binding) string {
	for _, a := range b.Anchors {
		if !a.Confirmed {
			return "anchor " + a.Hypervisor + " " + a.Error
		}
	}
	for _, r := range b.Routes {
		if !r.Confirmed {
			return "router " + r.Router + " " + r.Error
		}
	}
	return ""
}

// finish does what is left of a prepared move.
func (m *move) finish() {
	m.w.t.Helper()
	m.release()
	m.carry()
	m.activate(slower(10 * time.Second))
	m.confirmed()
}

// home brings the mover back to where it belongs.
func (w *world) home() {
	w.t.Helper()
	for w.at != topology.HVA {
		m := w.plan()
		m.to = topology.HVA
		m.prepare().finish()
	}
}
