package scenario

import (
	"context"
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
	"github.com/dpmip/dpmip/testbed/clock"
	"github.com/dpmip/dpmip/testbed/netns"
)

// aDay is the lifetime of what is forged.
const aDay = 24 * time.Hour

func (r *run) forged(m *move, epoch uint32, phase mobility.Phase) registration.Request {
	vm, _ := mobility.ParseVMID(m.id)
	o := mobility.MoveOptions{Mode: mobility.ModeHot, Addresses: r.o.Addresses, Redirect: r.o.Redirect, New: r.o.New}
	return registration.Request{VM: vm, Handoff: mobility.HandoffUnknown, Epoch: mobility.Epoch(epoch), Move: o.WithPhase(phase)}
}

// forge sends a Request as the management node would, and checks the answer.
func (r *run) forge(ctx context.Context, hv string, q registration.Request, accepted bool) error {
	reply, err := r.dc.forge(ctx, hv, q)
	if err != nil {
		return err
	}
	if reply.Status.Accepted() != accepted {
		return fmt.Errorf("%s answers status %d to a forged Request of epoch %d", hv, reply.Status, q.Epoch)
	}
	return nil
}

// acceptStale repeats, after the second move, the redirect of the first to the
// hypervisor that serves now. With its own epoch it must be refused: that is
// what protects. With a number that passes it shows what an agent without that
// check would do.
func acceptStale(ctx context.Context, r *run, m *move) error {
	if m.n == 1 {
		return nil
	}
	first := r.moves[0]
	q := r.forged(m, first.epoch, mobility.PhaseCommit)
	q.Handoff, q.Lifetime = mobility.HandoffMove, mobility.LifetimeOf(aDay)
	h, _ := r.dc.Lab.Plan.Hypervisor(first.to)
	q.CareOf, q.Locator4 = h.Locator.V6, h.Locator.V4
	for old, ds := range first.delivery {
		q.Pairs = append(q.Pairs, mobility.Pair{Old: old, New: ds[0]})
	}
	if err := r.forge(ctx, m.to, q, false); err != nil {
		return err
	}
	q.Epoch = mobility.Epoch(m.epoch + 1)
	return r.forge(ctx, m.to, q, true)
}

// drainHome lets the home remove its redirect although the address is kept.
func drainHome(ctx context.Context, r *run, m *move) error {
	return r.forge(ctx, m.from, r.forged(m, m.epoch+1, mobility.PhaseCommit), true)
}

// giveBackEarly sends the last message of an abort first: the destination gives
// back while the source still redirects to it.
func giveBackEarly(ctx context.Context, r *run, m *move) error {
	if err := r.forge(ctx, m.to, r.forged(m, m.epoch, mobility.PhaseAbort), true); err != nil {
		return err
	}
	clock.SleepUntil(clock.Now() + 50*time.Millisecond)
	return nil
}

// routeProtocol marks the routes of dpmip-router.
const routeProtocol = 201

// withdrawEarly removes the host routes at the destination's router, with its
// daemon stopped, while the routers behind it still have theirs.
func withdrawEarly(_ context.Context, r *run, m *move) error {
	h, _ := r.dc.Lab.Plan.Hypervisor(m.to)
	daemon := r.dc.daemons[h.Router].process
	if err := daemon.Freeze(); err != nil {
		return err
	}
	r.undo = append(r.undo, func() error { return daemon.Signal(syscall.SIGCONT) })
	nl, n := r.dc.Lab.Node(h.Router).NS.Netlink(), 0
	for _, a := range m.live {
		routes, err := nl.RouteListFiltered(familyOf(a), &netlink.Route{Protocol: routeProtocol, Dst: netns.IPNet(netip.PrefixFrom(a, a.BitLen()))},
			netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_DST)
		if err != nil {
			return err
		}
		for i := range routes {
			if err := nl.RouteDel(&routes[i]); err != nil {
				return err
			}
			n++
		}
	}
	if n == 0 {
		return fmt.Errorf("%s has no host route to %v", h.Router, m.live)
	}
	return nil
}

func familyOf(a netip.Addr) int {
	if a.Is4() {
		return netlink.FAMILY_V4
	}
	return netlink.FAMILY_V6
}
