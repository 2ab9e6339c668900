package scenario

import (
	"context"
	"fmt"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/testbed/clock"
	"github.com/dpmip/dpmip/testbed/result"
)

// Scenarios in which nothing bridges the move: the VM cannot be reached until the
// routers lead to it. What is lost meanwhile is counted and shown; from then on
// everything must arrive.
const (
	nameCold       = "cold"
	nameSourceLost = "source-lost"
)

// Their stages beyond those of a move.
const (
	stageKilled   = "source killed"
	stageReturned = "source is back"
)

// awaySettle is long enough for the retransmissions of TCP connections that were
// cut off for a time.
const awaySettle = 2 * time.Second

var coldSteps = []step{
	{"prepare", (*run).prepare}, {"carry", (*run).carry}, {"activate", (*run).activate}, {"reach", (*run).reachable}, {"leave", (*run).countRedirect},
}

var lostSteps = []step{
	{"kill", (*run).kill}, {"lost", (*run).sourceLost}, {"carry", (*run).carry}, {"activate", (*run).activate}, {"reach", (*run).reachable},
	{"return", (*run).comeBack},
}

// Cold brings a data centre up and moves a VM with nothing left at the source: no
// redirect, only host routes. It suits a VM that is started anew elsewhere.
func Cold(ctx context.Context, o Options) (*Report, error) { return HotMove(ctx, cold(o)) }

// ColdIn is Cold in a data centre that is up.
func ColdIn(ctx context.Context, dc *DataCentre, o Options) (*Report, error) {
	return HotMoveIn(ctx, dc, cold(o))
}

func cold(o Options) Options {
	o.steps, o.scenario, o.mode = coldSteps, nameCold, "cold"
	return withoutBridge(o)
}

// SourceLost brings a data centre up and kills a VM's hypervisor with it: by the
// operator's word the VM goes on elsewhere. When the source is back it redirects
// for the VMs beside it.
func SourceLost(ctx context.Context, o Options) (*Report, error) { return HotMove(ctx, sourceLost(o)) }

// SourceLostIn is SourceLost in a data centre that is up.
func SourceLostIn(ctx context.Context, dc *DataCentre, o Options) (*Report, error) {
	return HotMoveIn(ctx, dc, sourceLost(o))
}

func sourceLost(o Options) Options {
	o.steps, o.scenario = lostSteps, nameSourceLost
	return withoutBridge(o)
}

func withoutBridge(o Options) Options {
	o.away, o.Settle = true, max(o.Settle, awaySettle)
	return o
}

// AwayDefaults is a move of both families that only host routes carry.
func AwayDefaults() Options {
	o := Defaults()
	o.Redirect, o.Family, o.Moves = mobility.RedirectRouted, "dual", 1
	return o
}

// possible refuses what such a move cannot be.
func (o *Options) possible() error {
	switch {
	case o.scenario == nameWarm && o.Sabotage != "":
		return fmt.Errorf("scenario: %s: sabotage %s is of a hot move", o.scenario, o.Sabotage)
	case !o.away:
		return nil
	case o.Redirect != mobility.RedirectRouted:
		return fmt.Errorf("scenario: %s: redirect %s: nothing redirects, only host routes lead to the VM: want routed", o.scenario, o.Redirect)
	case o.Addresses != mobility.AddressesKeep:
		return fmt.Errorf("scenario: %s: addresses %s: nothing leads to old addresses: want keep", o.scenario, o.Addresses)
	case o.Peer == PeerSource:
		return fmt.Errorf("scenario: %s: peer %s: it is not reached before the source redirects again", o.scenario, o.Peer)
	case o.Sabotage != "":
		return fmt.Errorf("scenario: %s: sabotage %s is of a hot move", o.scenario, o.Sabotage)
	}
	return nil
}

// due is the moment from which on everything must have arrived.
func (m *move) due(away bool) mark {
	if away {
		return m.reached
	}
	return m.start
}

// judged is what a run is judged by: where the VM was away for a time, what the
// endpoints counted afterwards.
func (r *run) judged(all *result.Run) *result.Run {
	if r.o.scenario == nameWarm {
		return r.judgedWarm(all)
	}
	if !r.o.away {
		return all
	}
	some := *all
	some.Moves = nil
	for i, m := range r.moves {
		x := &result.Move{VM: m.id, From: m.from, To: m.to}
		r.addTraffic(x, m.reached, m.end)
		x.TCP.Timeouts = 0 // retransmissions of what was cut off
		some.Moves = append(some.Moves, *x)
		fmt.Fprintf(r.o.Out, "%s: while it could not be reached %d of %d datagrams were lost\n", m, all.Moves[i].UDP.Lost-x.UDP.Lost, all.Moves[i].UDP.Sent-x.UDP.Sent)
	}
	return &some
}

// bridged judges what the source of a move has redirected; "" = as it must be.
func (r *run) bridged(m *move) string {
	home := atHome(&r.dc.Lab.Plan, ofFamily(r.slots, r.o.families()[0]), m.to)
	switch n := m.counted.packets; {
	case r.o.scenario == nameCold && n != 0:
		return fmt.Sprintf("%s has redirected %d packets, in a move that leaves nothing there", m.from, n)
	case r.o.scenario == nameCold, r.o.scenario == nameSourceLost && home: // its own range leads to the VM
		return ""
	case n == 0:
		return fmt.Sprintf("the redirect at %s has counted nothing", m.from)
	}
	return ""
}

// reachable waits until the routers lead to the VM; from here on everything must
// arrive, and new connections succeed.
func (r *run) reachable(ctx context.Context, m *move) error {
	missing := unconfirmed
	if r.o.scenario == nameSourceLost {
		missing = unrouted
	}
	if err := r.until(ctx, missing); err != nil {
		return err
	}
	if err := r.stage(ctx, m, stageConfirmed); err != nil {
		return err
	}
	m.reached = r.mark()
	m.newcomers.begin(ctx)
	r.fromVM(ctx, m)
	clock.SleepUntil(m.times[stageConfirmed] + r.o.Settle)
	m.newcomers.enough(ctx)
	return nil
}

// unrouted names a router that has not confirmed the binding.
func unrouted(b *v1.Binding) string {
	if len(b.Routes) == 0 {
		return "told to no router"
	}
	return unconfirmed(&v1.Binding{Routes: b.Routes})
}

// kill ends the source's agent, and takes the VM with it.
func (r *run) kill(ctx context.Context, m *move) error {
	if err := r.dc.Kill(m.from); err != nil {
		return err
	}
	if err := r.dc.Lab.Switch.Disconnect(mover); err != nil {
		return err
	}
	return r.stage(ctx, m, stageKilled)
}

// sourceLost is the operator's word that the source does not run the VM any more.
func (r *run) sourceLost(ctx context.Context, m *move) error {
	res, err := r.dc.Mgmt.SourceLost(ctx, connect.NewRequest(&v1.SourceLostRequest{Vm: m.id, To: m.to, FencedBy: "dpmip-lab, which killed it"}))
	if err != nil {
		return fmt.Errorf("scenario: source lost of %s: %w", m.id, err)
	}
	m.epoch = res.Msg.Move.Epoch
	return r.until(ctx, func(*v1.Binding) string {
		list, err := r.dc.Mgmt.ListMoves(ctx, connect.NewRequest(&v1.ListMovesRequest{Vm: m.id, Open: true}))
		if err != nil {
			return err.Error()
		}
		for _, x := range list.Msg.Moves {
			if x.Epoch == m.epoch && x.State == "ready" {
				return ""
			}
		}
		return "not ready to go on elsewhere"
	})
}

// comeBack starts the source again. It finds what it missed, and redirects what
// the VM beside it sends.
func (r *run) comeBack(ctx context.Context, m *move) (err error) {
	if err := r.dc.Restart(m.from); err != nil {
		return err
	}
	if err := r.dc.Serving(ctx, m.from); err != nil {
		return err
	}
	if err := r.until(ctx, unconfirmed); err != nil {
		return err
	}
	if err := r.stage(ctx, m, stageReturned); err != nil {
		return err
	}
	if m.counted, err = r.redirected(ctx, m); err != nil {
		return err
	}
	v, _ := r.dc.Lab.Plan.PeerAt(m.from)
	if err := r.talk(ctx, fmt.Sprintf("%s, after move %d", v.Name, m.n), v.Name, max(r.o.PPS/5, 1), min(r.o.TCP, 2)); err != nil {
		return err
	}
	clock.SleepUntil(clock.Now() + 300*time.Millisecond)
	return r.countRedirect(ctx, m)
}
