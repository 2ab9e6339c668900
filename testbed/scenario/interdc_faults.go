package scenario

import (
	"context"
	"fmt"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/testbed/clock"
	"github.com/dpmip/dpmip/testbed/topology"
)

// Faults of a run between two data centres.
const (
	FaultBorderDead  = "border-dead" // the border router by which the traffic enters dies while the VM is away
	FaultIGPFrozen   = "igp-frozen"  // the spines' OSPF stands still during each move
	FaultIGPOrder    = "igp-order"   // every router's IGP stands still at the activation, and goes on router by router in an order of chance
	FaultRestart     = "frr-restart" // an observer's FRR is away during each move, and a spine's for a moment while the VM is away
	FaultSessions    = "bgp-reset"   // BGP sessions are reset at either end while the VM is away
	FaultUnannounced = "unannounced" // the destination's ToR tells its IGP of no host route, until the first move has been stopped
	FaultLinkCut     = "link-cut"    // the inter-site link is cut before, in and after a move, and comes back
)

// fault is how a run with a fault differs.
type fault struct {
	name    string
	between func(*run, context.Context, hop) error
	steps   []step
}

var faults = []fault{
	{FaultBorderDead, (*run).borderDies, nil},
	{FaultLinkCut, (*run).cutBetween, cutSteps},
	{FaultIGPFrozen, nil, frozenSteps},
	{FaultIGPOrder, nil, shuffledSteps},
	{FaultUnannounced, (*run).redistributionBroken, nil},
	{FaultRestart, (*run).restartedAtRest, routersRestarted},
	{FaultSessions, (*run).sessionsReset, nil},
}

// FaultNames lists the faults of a run between two data centres.
func FaultNames() (out []string) {
	for _, f := range faults {
		out = append(out, f.name)
	}
	return out
}

// borderDies kills the border router by which the traffic enters, once the VM
// is away from home, and brings it back.
func (r *run) borderDies(ctx context.Context, next hop) error {
	if next.from == r.vm.Home {
		return nil
	}
	f, dead := r.o.two.fabric, r.entryOf(next.from)
	other := topology.Border1
	if dead == other {
		other = topology.Border2
	}
	err := r.watch(ctx, dead+" dies", false, func(ctx context.Context) error {
		began := clock.Now()
		if err := f.kill(dead); err != nil {
			return err
		}
		if err := r.untilEntry(ctx, other); err != nil {
			return err
		}
		fmt.Fprintf(r.o.Out, "  the provider leads to %s after %v\n", other, (clock.Now() - began).Round(100*time.Microsecond))
		return r.flowing(ctx)
	})
	if err != nil {
		return err
	}
	return r.watch(ctx, dead+" comes back", false, func(ctx context.Context) error {
		if err := f.revive(ctx, dead); err != nil {
			return err
		}
		if err := r.untilEntry(ctx, dead); err != nil {
			return err
		}
		if err := f.settled(ctx); err != nil {
			return err
		}
		return r.until(ctx, unconfirmed)
	})
}

// kill takes a router's power: its ports, then its programs.
func (f *fabric) kill(node string) error {
	if err := f.dc.Lab.UnplugAll(node); err != nil {
		return err
	}
	if err := f.dc.Kill(node); err != nil {
		return err
	}
	return f.frr[node].KillAll()
}

// revive brings a border router back that was killed, inside first: when the
// provider sees it, it knows its ways.
func (f *fabric) revive(ctx context.Context, node string) error {
	own, _ := f.dc.Lab.Plan.LinksOf(node)
	for _, e := range own {
		if e.Name == topology.OutPort {
			continue
		}
		if err := f.dc.Lab.Plug(node, e.Name); err != nil {
			return err
		}
	}
	if err := f.frr[node].StartAgain(); err != nil {
		return err
	}
	if err := f.dc.Restart(node); err != nil {
		return err
	}
	if err := f.dc.Serving(ctx, node); err != nil {
		return err
	}
	if err := f.inside(ctx, node); err != nil {
		return err
	}
	return f.dc.Lab.Plug(node, topology.OutPort)
}

// untilEntry waits until the provider leads the VM's addresses to a border
// router.
func (r *run) untilEntry(ctx context.Context, border string) error {
	return r.poll(ctx, func() (string, error) {
		for _, a := range r.slots {
			if got, err := r.o.two.fabric.entry(a); err != nil || got != border {
				return fmt.Sprintf("the provider leads %s to %q, want %s (%v)", a, got, border, err), nil
			}
		}
		return "", nil
	})
}

// flowing waits until datagrams of every stream come through again, both ways.
func (r *run) flowing(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settlePatience)
	defer cancel()
	for _, name := range r.order {
		for _, st := range r.sessions[name].udp() {
			a, b := st.Arrived()
			if err := st.WaitFor(ctx, max(a, b)+20); err != nil {
				return fmt.Errorf("scenario: no traffic: %w", err)
			}
		}
	}
	return nil
}

// cutFor is how long the inter-site link is away after a move has committed, or
// while its COMMIT is owed.
const cutFor = time.Second

// cut and mend are the inter-site link's.
func (f *fabric) cut() error  { return f.dc.Lab.Unplug(topology.Spine1, topology.InterSite) }
func (f *fabric) mend() error { return f.dc.Lab.Plug(topology.Spine1, topology.InterSite) }

// cutBetween cuts the inter-site link before the VM moves away, when the move
// cannot be prepared, and once more when the VM is away.
func (r *run) cutBetween(ctx context.Context, next hop) error {
	if next.from == r.vm.Home && next.to != "" && len(r.moves) == 0 {
		return r.watch(ctx, "inter-site link cut, a move cannot be prepared", true, func(ctx context.Context) error { return r.unprepared(ctx, next) })
	}
	if next.from == r.vm.Home {
		return nil
	}
	// Routed, the traffic enters where the VM is and needs the link no more.
	name, lossless := "inter-site link cut, VM away", r.o.Redirect == mobility.RedirectRouted
	return r.watch(ctx, name, lossless, func(ctx context.Context) error {
		if err := r.o.two.fabric.cut(); err != nil {
			return err
		}
		clock.SleepUntil(clock.Now() + cutFor)
		return r.heal(ctx)
	})
}

// heal mends the inter-site link and waits until all is as before.
func (r *run) heal(ctx context.Context) error {
	began := clock.Now()
	if err := r.o.two.fabric.mend(); err != nil {
		return err
	}
	if err := r.o.two.fabric.routed(ctx); err != nil {
		return err
	}
	if err := r.flowing(ctx); err != nil {
		return err
	}
	fmt.Fprintf(r.o.Out, "  the routing has settled %v after the link came back; the last was: %s\n", (clock.Now() - began).Round(time.Millisecond), r.o.two.fabric.last)
	return nil
}

// unprepared asks for a move across the cut link: it does not become ready, it
// is aborted, and the VM stays where it is.
func (r *run) unprepared(ctx context.Context, next hop) error {
	if err := r.o.two.fabric.cut(); err != nil {
		return err
	}
	before, err := r.binding(ctx, r.vm.ID)
	if err != nil {
		return err
	}
	res, err := r.dc.Mgmt.PrepareMove(ctx, connect.NewRequest(&v1.PrepareMoveRequest{Vm: r.vm.ID, To: next.to, Mode: "hot",
		Addresses: r.o.Addresses.String(), Redirect: r.o.Redirect.String(), NewConnections: r.o.New.String(), WaitNs: int64(cutFor)}))
	if err == nil && res.Msg.Move.State == "ready" {
		r.problem("a move to %s is ready although nothing leads there", next.to)
	}
	aborted, err := r.dc.Mgmt.AbortMove(ctx, connect.NewRequest(&v1.AbortMoveRequest{Vm: r.vm.ID, WaitNs: int64(100 * time.Millisecond)}))
	if err != nil {
		return fmt.Errorf("scenario: abort: %w", err)
	}
	fmt.Fprintf(r.o.Out, "  the move at epoch %d cannot be prepared: it is %s\n", aborted.Msg.Move.Epoch, aborted.Msg.Move.State)
	if err := r.heal(ctx); err != nil {
		return err
	}
	return r.poll(ctx, func() (string, error) {
		b, err := r.binding(ctx, r.vm.ID)
		if err != nil {
			return "", err
		}
		if b.Hypervisor != next.from || b.Epoch != before.Epoch || b.State != "registered" {
			return fmt.Sprintf("%s is %s at %s, epoch %d; want registered at %s, epoch %d", r.vm.ID, b.State, b.Hypervisor, b.Epoch, next.from, before.Epoch), nil
		}
		return "", nil
	})
}

// cutSteps is a move during which the inter-site link is away from before the VM
// runs at the destination until the COMMIT has been owed for a while.
var cutSteps = []step{
	{"prepare", (*run).prepare}, {"release", (*run).release}, {"cut", (*run).cutNow}, {"carry", (*run).carry}, {"activate", (*run).activateAlone},
	{"mend", (*run).mendNow}, {"reach", (*run).reach}, {"settle", (*run).settle}, {"prove", (*run).prove},
}

const (
	stageCut    = "inter-site link cut"
	stageMended = "inter-site link mended"
)

func (r *run) cutNow(ctx context.Context, m *move) error {
	m.outage = true
	if err := r.o.two.fabric.cut(); err != nil {
		return err
	}
	return r.stage(ctx, m, stageCut)
}

// activateAlone tells the destination that the VM runs there while the
// management node may be out of its reach: the COMMIT is owed.
func (r *run) activateAlone(ctx context.Context, m *move) error {
	res, err := r.dc.Agent(m.to).ActivateVM(ctx, connect.NewRequest(&v1.ActivateVMRequest{Vm: m.id, WaitNs: int64(cutFor)}))
	if err != nil {
		return fmt.Errorf("scenario: activate %s at %s: %w", m.id, m.to, err)
	}
	if h, _ := r.dc.Lab.Plan.Hypervisor(m.to); res.Msg.Committed != (h.Site == topology.Site1) {
		r.problem("%s: committed is %v while the management node is cut off from %s", m, res.Msg.Committed, h.Site)
	}
	if m.fresh, err = parseAddrs(res.Msg.Addresses); err != nil {
		return err
	}
	r.slots = m.fresh
	return r.stage(ctx, m, stageActivated)
}

// mendNow lets the link come back, and waits for the COMMIT.
func (r *run) mendNow(ctx context.Context, m *move) error {
	clock.SleepUntil(m.times[stageCut] + cutFor)
	if err := r.o.two.fabric.mend(); err != nil {
		return err
	}
	if err := r.stage(ctx, m, stageMended); err != nil {
		return err
	}
	err := r.poll(ctx, func() (string, error) {
		b, err := r.binding(ctx, r.vm.ID)
		if err == nil && (b.Hypervisor != m.to || b.Epoch != m.epoch) {
			return fmt.Sprintf("%s is at %s, epoch %d; want %s, epoch %d", r.vm.ID, b.Hypervisor, b.Epoch, m.to, m.epoch), nil
		}
		return "", err
	})
	if err != nil {
		return err
	}
	if err := r.stage(ctx, m, stageCommitted); err != nil {
		return err
	}
	if err := r.o.two.fabric.routed(ctx); err != nil {
		return err
	}
	m.newcomers.begin(ctx)
	return nil
}
