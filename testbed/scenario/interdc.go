package scenario

import (
	"context"
	"errors"
	"fmt"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/testbed/topology"
)

const nameInterDC = "inter-dc"

// InterDC brings two data centres up and moves a VM from one to the other and
// back, o.Moves moves in all, under traffic with the correspondent node outside.
// After each move it is proved, at the provider, by which site's border router
// the traffic enters, and at the third site that it has learnt nothing.
func InterDC(ctx context.Context, o Options) (*Report, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	t, err := StartTwoSites(ctx, o.settings())
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(o.Out, "two data centres up after %.1f s\n", t.Up.Seconds())
	rep, err := InterDCIn(ctx, t, o)
	return rep, errors.Join(err, t.Close())
}

// InterDCIn is InterDC in data centres that are up, and stay up.
func InterDCIn(ctx context.Context, t *TwoSites, o Options) (*Report, error) {
	if err := t.fabric.settled(ctx); err != nil {
		return nil, err
	}
	o.scenario, o.two, o.ring = nameInterDC, t, []string{topology.HVA, topology.HVC}
	o.steps = interDCSteps
	for _, f := range faults {
		if f.name != o.Fault {
			continue
		}
		if o.between = f.between; f.steps != nil {
			o.steps = f.steps
		}
	}
	return HotMoveIn(ctx, t.DataCentre, o)
}

// interDCSteps is a move whose way through the provider is proved.
var interDCSteps = []step{
	{"prepare", (*run).prepare}, {"release", (*run).release}, {"carry", (*run).carry}, {"activate", (*run).activate},
	{"reach", (*run).reach}, {"settle", (*run).settle}, {"prove", (*run).prove},
}

// entryOf is the border router by which traffic with the VM's addresses must
// enter while it is at a hypervisor.
func (r *run) entryOf(hv string) string {
	p := &r.dc.Lab.Plan
	h, _ := p.Hypervisor(hv)
	if r.o.Redirect == mobility.RedirectRouted {
		return borders[h.Site]
	}
	home, _ := p.Hypervisor(r.vm.Home)
	return borders[home.Site]
}
