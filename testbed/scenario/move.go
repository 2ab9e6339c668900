package scenario

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/testbed/clock"
	"github.com/dpmip/dpmip/testbed/result"
)

// move is one move under way: what was asked, what came of it, and when.
type move struct {
	vm, id, from, to string
	epoch            uint32
	phases           []result.Phase
	armTook          time.Duration
	old              []netip.Addr
	fresh            []netip.Addr // new addresses when renumbered
	start, end       mark
	begun, ended     time.Duration
}

// phase notes a step of the move on the run's clock.
func (r *run) phase(m *move, name string) {
	at := clock.Now() - r.began
	m.phases = append(m.phases, result.Phase{Name: name, At: at.Nanoseconds()})
	fmt.Fprintf(r.o.Out, "  %9.3f ms  %s\n", float64(at.Microseconds())/1000, name)
}

// prepare asks the management node for the move and waits until it is ready.
func (r *run) prepare(ctx context.Context, m *move) error {
	req := &v1.PrepareMoveRequest{Vm: m.id, To: m.to, Mode: "hot", Addresses: r.o.Addresses.String(), Redirect: r.o.Redirect.String(),
		NewConnections: r.o.New.String(), WaitNs: int64(10 * time.Second)}
	r.phase(m, "prepare")
	res, err := r.dc.Mgmt.PrepareMove(ctx, connect.NewRequest(req))
	if err != nil {
		return fmt.Errorf("scenario: prepare %s from %s to %s: %w", m.vm, m.from, m.to, err)
	}
	if res.Msg.Move.State != "ready" {
		return fmt.Errorf("scenario: prepare %s to %s: the move is %s: %s", m.vm, m.to, res.Msg.Move.State, res.Msg.Move.Error)
	}
	m.epoch = res.Msg.Move.Epoch
	r.phase(m, "ready")
	return nil
}

// release tells the source that the VM stops there now.
func (r *run) release(ctx context.Context, m *move) error {
	res, err := r.dc.Agent(m.from).ReleaseVM(ctx, connect.NewRequest(&v1.ReleaseVMRequest{Vm: m.id}))
	if err != nil {
		return fmt.Errorf("scenario: release %s at %s: %w", m.vm, m.from, err)
	}
	m.armTook = time.Duration(res.Msg.TookNs)
	r.phase(m, "released")
	return nil
}

// carry takes the VM from one hypervisor to the other: for the length of the
// pause it is nowhere.
func (r *run) carry(m *move) error {
	if err := r.dc.Lab.Switch.Disconnect(m.vm); err != nil {
		return err
	}
	stopped := clock.Now()
	r.phase(m, "vm paused")
	clock.SleepUntil(stopped + r.o.Pause)
	if err := r.dc.Lab.Switch.Connect(m.vm, m.to); err != nil {
		return err
	}
	r.phase(m, "vm resumed")
	return nil
}

// activate tells the destination that the VM runs there, and gives the VM its
// new addresses where it got some.
func (r *run) activate(ctx context.Context, m *move) error {
	res, err := r.dc.Agent(m.to).ActivateVM(ctx, connect.NewRequest(&v1.ActivateVMRequest{Vm: m.id, WaitNs: int64(10 * time.Second)}))
	if err != nil {
		return fmt.Errorf("scenario: activate %s at %s: %w", m.vm, m.to, err)
	}
	r.phase(m, "activated")
	if !res.Msg.Committed {
		return fmt.Errorf("scenario: activate %s at %s: COMMIT was not answered", m.vm, m.to)
	}
	r.phase(m, "committed")
	if m.fresh, err = parseAddrs(res.Msg.Addresses); err != nil {
		return err
	}
	if m.old, err = parseAddrs(res.Msg.OldAddresses); err != nil {
		return err
	}
	return r.dc.Lab.Renumber(m.vm, m.fresh, m.old)
}

func parseAddrs(list []string) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, s := range list {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return nil, fmt.Errorf("scenario: an agent names an address %q: %w", s, err)
		}
		out = append(out, a)
	}
	return out, nil
}
