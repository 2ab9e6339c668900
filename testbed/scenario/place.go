package scenario

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/testbed/clock"
	"github.com/dpmip/dpmip/testbed/traffic"
)

// patience is how long a run waits for what follows a move: confirmations,
// withdrawals, drains.
const patience = 8 * time.Second

// settleIn attaches the VMs that are not, and finds out where the mover is.
func (r *run) settleIn(ctx context.Context) error {
	for _, v := range r.dc.Lab.Plan.VMs {
		_, err := r.binding(ctx, v.ID)
		if connect.CodeOf(err) == connect.CodeNotFound {
			err = r.dc.Attach(ctx, v.Name, r.o.families())
		}
		if err != nil {
			return err
		}
	}
	b, err := r.binding(ctx, r.vm.ID)
	if err != nil {
		return err
	}
	if b.State != "registered" {
		return fmt.Errorf("scenario: %s is %s: it cannot be moved", r.vm.ID, b.State)
	}
	r.at, r.slots, r.olds = b.Hypervisor, nil, nil
	for _, s := range b.Addresses {
		a, err := netip.ParseAddr(s.Address)
		if err != nil {
			return fmt.Errorf("scenario: the management node names an address %q: %w", s.Address, err)
		}
		switch {
		case s.Current:
			r.slots = append(r.slots, a)
		case s.State == "live":
			r.olds = append(r.olds, a)
		}
	}
	return nil
}

func (r *run) binding(ctx context.Context, vm string) (*v1.Binding, error) {
	b, err := r.dc.Mgmt.GetBinding(ctx, connect.NewRequest(&v1.GetBindingRequest{Vm: vm}))
	if err != nil {
		return nil, fmt.Errorf("scenario: binding of %s: %w", vm, err)
	}
	return b.Msg.Binding, nil
}

// end is a place for traffic of a node: of the mover, on the address that it
// has now.
func (r *run) end(node string, family int, port uint16) traffic.Endpoint {
	e := r.dc.Lab.Endpoint(node, family, port)
	if node == mover {
		e.Addr = netip.AddrPortFrom(ofFamily(r.slots, family), port)
	}
	return e
}

// ofFamily is the first address of a family, 6 or 4.
func ofFamily(list []netip.Addr, family int) netip.Addr {
	for _, a := range list {
		if a.Is4() == (family == 4) {
			return a
		}
	}
	return netip.Addr{}
}

// until waits for a binding to be in a state; missing names what it lacks, ""
// = nothing.
func (r *run) until(ctx context.Context, missing func(*v1.Binding) string) error {
	within := r.o.slow(patience)
	deadline := clock.Now() + within
	for {
		b, err := r.binding(ctx, r.vm.ID)
		if err != nil {
			return err
		}
		what := missing(b)
		if what == "" {
			return nil
		}
		if clock.Now() > deadline {
			return fmt.Errorf("scenario: %s at %s, epoch %d: after %v still %s", r.vm.ID, b.Hypervisor, b.Epoch, within, what)
		}
		clock.SleepUntil(clock.Now() + 2*time.Millisecond)
	}
}

// unconfirmed names a holder that has not confirmed the binding.
func unconfirmed(b *v1.Binding) string {
	for _, a := range b.Anchors {
		if !a.Confirmed {
			return a.Hypervisor + " has not confirmed: " + a.Error
		}
	}
	for _, x := range b.Routes {
		if !x.Confirmed {
			return x.Router + " has not confirmed: " + x.Error
		}
	}
	return ""
}

// unrested names what of a move is not over yet: host routes of addresses that
// are at home, and old addresses that have not drained.
func (r *run) unrested(b *v1.Binding) string {
	if what := unconfirmed(b); what != "" {
		return what
	}
	for _, s := range b.Addresses {
		if !s.Current && s.State != "quarantine" {
			return fmt.Sprintf("%s is %s", s.Address, s.State)
		}
	}
	if h, _ := r.dc.Lab.Plan.Hypervisor(b.Hypervisor); len(b.Routes) > 0 && h.Range.V6.Contains(ofFamily(r.slots, 6)) {
		return "the host route at " + b.Routes[0].Router + " is not withdrawn"
	}
	return ""
}

// rest waits, with no traffic left, until the moves are over: whatever is
// renumbered has drained, and the VM forgets it.
func (r *run) rest(ctx context.Context) error {
	if err := r.until(ctx, r.unrested); err != nil {
		return err
	}
	olds := r.olds
	r.olds = nil
	return r.dc.Lab.Forget(mover, olds)
}
