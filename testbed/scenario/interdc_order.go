package scenario

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/dpmip/dpmip/testbed/clock"
	"github.com/dpmip/dpmip/testbed/peers/frr"
)

// shuffledSteps is a move whose IGP updates arrive in an order of chance: the
// IGP's daemons of every router stand still from before the activation, and go on
// router by router. All stand still for less than the dead interval.
var shuffledSteps = []step{
	{"prepare", (*run).prepare}, {"release", (*run).release}, {"carry", (*run).carry}, {"stop", (*run).stopIGP}, {"activate", (*run).activate},
	{"in turn", (*run).goOnInTurn}, {"reach", (*run).reach}, {"settle", (*run).settle}, {"prove", (*run).prove}, {"loops", (*run).expired},
}

const (
	stageIGPStopped = "IGP of every router frozen"
	stageIGPAll     = "IGP goes on at the last router"
)

// betweenRouters is how far one router is behind the one before: several times
// what OSPF takes from one router's kernel to another's.
const betweenRouters = 150 * time.Millisecond

func (r *run) stopIGP(ctx context.Context, m *move) error {
	f := r.o.two.fabric
	var err error
	if m.expired, err = f.expired(); err != nil {
		return err
	}
	all := f.shuffled(0, 0)
	r.undo = append(r.undo, func() error { return f.igp(all, (*frr.Router).Thaw) })
	if err := f.igp(all, (*frr.Router).Freeze); err != nil {
		return err
	}
	return r.stage(ctx, m, stageIGPStopped)
}

// goOnInTurn lets one router after the other go on, in the order of this move.
func (r *run) goOnInTurn(ctx context.Context, m *move) error {
	order := r.o.two.fabric.shuffled(r.o.Seed, uint64(len(r.moves)))
	fmt.Fprintf(r.o.Out, "  the IGP goes on at %s, %v apart\n", strings.Join(order, ", "), betweenRouters)
	for i, router := range order {
		if i > 0 {
			clock.SleepUntil(clock.Now() + betweenRouters)
		}
		if err := r.countRedirect(ctx, m); err != nil { // on the way home it goes before the last router has heard
			return err
		}
		if err := r.o.two.fabric.igp([]string{router}, (*frr.Router).Thaw); err != nil {
			return err
		}
	}
	return r.stage(ctx, m, stageIGPAll)
}

// shuffled lists the routers in an order that the seed and the number of the
// move decide.
func (f *fabric) shuffled(seed, number uint64) []string {
	var out []string
	for _, r := range f.dc.Lab.Plan.Routers {
		out = append(out, r.Name)
	}
	rand.New(rand.NewPCG(seed, number)).Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// igp does something to the IGP's daemons of routers.
func (f *fabric) igp(routers []string, do func(*frr.Router, frr.Daemon) error) error {
	var errs []error
	for _, name := range routers {
		for _, d := range f.in.daemons {
			errs = append(errs, do(f.frr[name], d))
		}
	}
	return errors.Join(errs...)
}
