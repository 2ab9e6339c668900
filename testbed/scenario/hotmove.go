package scenario

import (
	"context"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/testbed/clock"
	"github.com/dpmip/dpmip/testbed/result"
	"github.com/dpmip/dpmip/testbed/topology"
)

// mover is the VM that moves.
const mover = "vm1"

// run is one hot-move run under way.
type run struct {
	o        *Options
	dc       *DataCentre
	vm       topology.VM
	began    time.Duration
	sessions map[string]*session
	order    []string // of sessions, as opened
	moves    []*move
}

// HotMove brings a data centre up, moves a VM round its hypervisors under
// traffic, and says what every move cost. An error means that the run could not
// be carried out; figures are for the caller to judge, see Problems.
func HotMove(ctx context.Context, o Options) (*result.Run, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	dc, err := Start(ctx, Settings{Bin: o.Bin, Seed: o.Seed, Attach: o.Attach})
	if err != nil {
		return nil, err
	}
	res, err := HotMoveIn(ctx, dc, o)
	return res, errors.Join(err, dc.Close())
}

// HotMoveIn is HotMove in a data centre that is up, and stays up. Its VMs must
// not be attached, or be at home.
func HotMoveIn(ctx context.Context, dc *DataCentre, o Options) (*result.Run, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	r := &run{o: &o, dc: dc, began: clock.Now(), sessions: map[string]*session{}}
	r.vm, _ = dc.Lab.Plan.VM(mover)
	err := r.all(ctx)
	for _, name := range r.order {
		r.sessions[name].stop()
	}
	if err != nil {
		return nil, dc.withLogs(err)
	}
	return r.result(ctx)
}

func (r *run) all(ctx context.Context) error {
	for _, v := range r.dc.Lab.Plan.VMs {
		if err := r.dc.Attach(ctx, v.Name, r.o.families()); err != nil {
			return err
		}
	}
	fmt.Fprintf(r.o.Out, "%s runs at %s: %v\n", r.vm.ID, r.vm.Home, r.vm.Addr.Both())
	for i := range r.o.Moves {
		from, to := hop(i)
		if err := r.move(ctx, from, to); err != nil {
			return err
		}
	}
	return nil
}

// peerNode is the node that talks to the VM in a move.
func (r *run) peerNode(from, to string) string {
	at := ""
	switch r.o.Peer {
	case PeerSource:
		at = from
	case PeerDestination:
		at = to
	case PeerThird:
		for _, h := range ring {
			if h != from && h != to {
				at = h
			}
		}
	default:
		return topology.CN
	}
	v, _ := r.dc.Lab.Plan.PeerAt(at)
	return v.Name
}

// talk makes sure that there is traffic between the peer and the VM. Traffic
// once begun goes on to the end of the run: no connection is ever opened anew.
func (r *run) talk(ctx context.Context, peer string) error {
	if r.sessions[peer] != nil {
		return nil
	}
	s, err := openSession(ctx, r.dc.Lab, mover, peer, len(r.order), r.o)
	if err != nil {
		return err
	}
	r.sessions[peer] = s
	r.order = append(r.order, peer)
	return nil
}

func (r *run) move(ctx context.Context, from, to string) error {
	peer := r.peerNode(from, to)
	if err := r.talk(ctx, peer); err != nil {
		return err
	}
	m := &move{vm: mover, id: r.vm.ID, from: from, to: to}
	r.moves = append(r.moves, m)
	fmt.Fprintf(r.o.Out, "move %d: %s -> %s, traffic with %s\n", len(r.moves), from, to, peer)
	m.begun, m.start = clock.Now(), r.mark()
	for _, step := range []func() error{
		func() error { return r.prepare(ctx, m) },
		func() error { return r.release(ctx, m) },
		func() error { return r.carry(m) },
		func() error { return r.activate(ctx, m) },
		func() error { return r.settled(ctx, m) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	m.end, m.ended = r.mark(), clock.Now()
	return nil
}

// mark is the moment of every session that is open.
func (r *run) mark() mark {
	var all mark
	for _, name := range r.order {
		m := r.sessions[name].mark()
		all.udp, all.tcp = append(all.udp, m.udp...), append(all.tcp, m.tcp...)
	}
	return all
}

// settled waits until every holder has confirmed the move, and then lets the
// traffic run on for a while.
func (r *run) settled(ctx context.Context, m *move) error {
	deadline := clock.Now() + 5*time.Second
	for {
		b, err := r.dc.Mgmt.GetBinding(ctx, connect.NewRequest(&v1.GetBindingRequest{Vm: m.id}))
		if err != nil {
			return fmt.Errorf("scenario: binding of %s: %w", m.id, err)
		}
		missing := unconfirmed(b.Msg.Binding)
		if missing == "" {
			break
		}
		if clock.Now() > deadline {
			return fmt.Errorf("scenario: %s has not confirmed the move of %s to %s", missing, m.id, m.to)
		}
		clock.SleepUntil(clock.Now() + 2*time.Millisecond)
	}
	r.phase(m, "confirmed by all")
	clock.SleepUntil(clock.Now() + r.o.Settle)
	return nil
}

func unconfirmed(b *v1.Binding) string {
	for _, a := range b.Anchors {
		if !a.Confirmed {
			return a.Hypervisor
		}
	}
	for _, x := range b.Routes {
		if !x.Confirmed {
			return x.Router
		}
	}
	return ""
}

// result puts the figures together, after all traffic has stopped.
func (r *run) result(ctx context.Context) (*result.Run, error) {
	out := &result.Run{Scenario: "hot-move", Seed: r.o.Seed}
	for _, m := range r.moves {
		x := result.Move{VM: m.id, From: m.from, To: m.to, Mode: "hot", Addresses: r.o.Addresses.String(), Epoch: m.epoch, Phases: m.phases,
			Redirect: result.Redirect{Mode: r.o.Redirect.String()}}
		armed := result.Micros(m.armTook)
		x.Redirect.Armed = &armed
		r.addTraffic(&x, m)
		if err := r.addReceipt(ctx, &x, m); err != nil {
			return nil, err
		}
		out.Moves = append(out.Moves, x)
	}
	out.Summarise()
	return out, nil
}

// addTraffic sums the sessions that were open when the move began.
func (r *run) addTraffic(x *result.Move, m *move) {
	u, t := 0, 0
	for _, name := range r.order {
		s := r.sessions[name]
		if u == len(m.start.udp) {
			break
		}
		nu, nt := u+len(s.streams), t+len(s.groups)
		s.add(x, mark{m.start.udp[u:nu], m.start.tcp[t:nt]}, mark{m.end.udp[u:nu], m.end.tcp[t:nt]})
		u, t = nu, nt
	}
}

// addReceipt takes from the management node's receipt what the agents counted.
func (r *run) addReceipt(ctx context.Context, x *result.Move, m *move) error {
	res, err := r.dc.Mgmt.GetReceipt(ctx, connect.NewRequest(&v1.GetReceiptRequest{Vm: m.id, Epoch: m.epoch}))
	if err != nil {
		return fmt.Errorf("scenario: receipt of epoch %d: %w", m.epoch, err)
	}
	for _, h := range res.Msg.Receipt.Holders {
		switch h.Hypervisor {
		case m.from:
			x.Redirect.Packets, x.Redirect.Bytes, x.Redirect.Placement = &h.RedirectedPackets, &h.RedirectedBytes, h.Placement
			if h.DrainedNs != 0 {
				d := result.Millis(h.DrainedNs)
				x.Redirect.Drained = &d
			}
		case m.to:
			held := result.Millis(h.MaxHoldNs)
			x.Hold.Packets, x.Hold.Max = &h.HeldPackets, &held
		}
	}
	return nil
}
