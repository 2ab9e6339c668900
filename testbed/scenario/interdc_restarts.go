package scenario

import (
	"context"
	"fmt"

	"github.com/dpmip/dpmip/testbed/topology"
)

// routersRestarted is a move during which the FRR of an observer that is not on
// the VM's way is dead from before the release, and comes back only when the
// traffic already takes its new way. The move cannot be over before that router
// has been seen to know the way again.
var routersRestarted = []step{
	{"prepare", (*run).prepare}, {"kill FRR", (*run).killFRR}, {"release", (*run).release}, {"carry", (*run).carry}, {"activate", (*run).activate},
	{"reach", (*run).reach}, {"start FRR", (*run).startFRR}, {"settle", (*run).settle}, {"routed", (*run).routedAgain}, {"prove", (*run).prove},
}

const (
	stageFRRDead = "FRR of " + topology.ToRB + " killed"
	stageFRRBack = "FRR of " + topology.ToRB + " started"
)

func (r *run) killFRR(ctx context.Context, m *move) error {
	if err := r.o.two.fabric.frr[topology.ToRB].KillAll(); err != nil {
		return err
	}
	return r.stage(ctx, m, stageFRRDead)
}

func (r *run) startFRR(ctx context.Context, m *move) error {
	if err := r.o.two.fabric.frr[topology.ToRB].StartAgain(); err != nil {
		return err
	}
	return r.stage(ctx, m, stageFRRBack)
}

func (r *run) routedAgain(ctx context.Context, _ *move) error { return r.o.two.fabric.routed(ctx) }

// restartedAtRest restarts the whole FRR of the spine of the VM's home while the
// VM is away. Routed, the traffic does not need it, and nothing may be lost; the
// management node behind it is away meanwhile.
func (r *run) restartedAtRest(ctx context.Context, next hop) error {
	if next.from == r.vm.Home {
		return nil
	}
	f := r.o.two.fabric
	return r.watch(ctx, "FRR of "+topology.Spine1+" restarted", true, func(ctx context.Context) error {
		x := f.frr[topology.Spine1]
		if err := x.KillAll(); err != nil {
			return err
		}
		if err := x.StartAgain(); err != nil {
			return err
		}
		if err := f.settled(ctx); err != nil {
			return err
		}
		return r.flowing(ctx)
	})
}

// sessionsReset ends the BGP sessions by which the traffic of the VM, which is
// away, enters: from the provider's end, by a question for all routes (RFC 2918),
// and by the border router's crash. The way home takes over while the provider
// has no host route; nothing may be lost.
func (r *run) sessionsReset(ctx context.Context, next hop) error {
	if next.from == r.vm.Home {
		return nil
	}
	f, border := r.o.two.fabric, r.entryOf(next.from)
	h, _ := r.dc.Lab.Plan.Hypervisor(next.from)
	tell := func(verb string) error {
		for _, family := range []string{"6", "4"} {
			if _, err := f.birds[topology.Provider].Show(verb + " " + h.Site + "_" + family); err != nil {
				return err
			}
		}
		return nil
	}
	for _, x := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"BGP reset by the provider", func(context.Context) error { return tell("restart") }},
		{"routes asked for again by the provider", func(context.Context) error { return tell("reload") }},
		{"dpmip-router of " + border + " killed and started", func(ctx context.Context) error { return r.routerCrashes(ctx, border) }},
	} {
		err := r.watch(ctx, x.name, true, func(ctx context.Context) error {
			if err := x.do(ctx); err != nil {
				return err
			}
			if err := f.settled(ctx); err != nil {
				return err
			}
			return r.untilEntry(ctx, border)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// routerCrashes kills a border's dpmip-router and starts it again. Its peers keep
// its routes (RFC 4724): the traffic enters there all the time.
func (r *run) routerCrashes(ctx context.Context, border string) error {
	if err := r.dc.Kill(border); err != nil {
		return err
	}
	for _, a := range r.slots {
		if got, err := r.o.two.fabric.entry(a); err != nil || got != border {
			r.problem("%s is restarted, and the provider leads %s to %q (%v)", border, a, got, err)
		}
	}
	if err := r.dc.Restart(border); err != nil {
		return err
	}
	if err := r.dc.Serving(ctx, border); err != nil {
		return fmt.Errorf("scenario: %s after its crash: %w", border, err)
	}
	return nil
}
