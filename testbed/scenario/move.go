package scenario

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/testbed/clock"
	"github.com/dpmip/dpmip/testbed/result"
	"github.com/dpmip/dpmip/testbed/selector"
	"github.com/dpmip/dpmip/testbed/topology"
)

// Stages of a move: names of its phases, and where a sabotage sets in.
const (
	stagePrepare   = "prepare"
	stageReady     = "ready"
	stageReleased  = "released"
	stagePaused    = "vm paused"
	stageResumed   = "vm resumed"
	stageActivated = "activated"
	stageCommitted = "committed"
	stageConfirmed = "confirmed by all"
)

// move is one move under way: what was asked, what came of it, and when.
type move struct {
	n                  int // from 1
	id, from, to, peer string
	epoch              uint32
	phases             []result.Phase
	unsaid             string // lines about stages
	times              map[string]time.Duration
	armTook            time.Duration
	before             []netip.Addr                // slots that the VM had at the source
	live               []netip.Addr                // all addresses that led to it then
	delivery           map[netip.Addr][]netip.Addr // delivery addresses at the destination
	fresh              []netip.Addr                // slots at the destination
	start, end         mark
	reached            mark // from here on everything must arrive; where the VM was away for a time
	ended              time.Duration
	lost               selector.Lost // at ports where the VM was not
	counted            counts        // by the source's redirect
	overflow           uint64        // packets that the destination's hold had no room for, by the receipt
	newcomers          *newcomers
	expired            uint64 // packets whose hop limit had run out when the IGP froze
	outage             bool   // the network was cut on purpose meanwhile
}

func (m *move) String() string { return fmt.Sprintf("move %d (%s -> %s)", m.n, m.from, m.to) }

// stage notes a step of the move on the run's clock, and lets a sabotage do its
// work there.
func (r *run) stage(ctx context.Context, m *move, name string) error {
	at := clock.Now()
	m.times[name] = at
	m.phases = append(m.phases, result.Phase{Name: name, At: (at - r.began).Nanoseconds()})
	m.unsaid += fmt.Sprintf("  %9.3f ms  %s\n", float64((at-r.began).Microseconds())/1000, name)
	if name != stageReleased && name != stageResumed { // somebody waits: it is said with the next one
		m.say(r.o.Out)
	}
	return r.spoil.at(ctx, r, m, name)
}

// say writes the stages that have not been told yet.
func (m *move) say(w io.Writer) {
	fmt.Fprint(w, m.unsaid)
	m.unsaid = ""
}

// step is one part of a move.
type step struct {
	name string
	do   func(*run, context.Context, *move) error
}

// moveSteps is the order of a move; a sabotage may have another.
var moveSteps = []step{
	{"prepare", (*run).prepare}, {"release", (*run).release}, {"carry", (*run).carry},
	{"activate", (*run).activate}, {"settle", (*run).settle},
}

func (r *run) move(ctx context.Context, from, to string) error {
	m := &move{n: len(r.moves) + 1, id: r.vm.ID, from: from, to: to, peer: r.peerNode(from, to),
		times: map[string]time.Duration{}, before: r.slots, live: append(slices.Clone(r.slots), r.olds...)}
	r.moves = append(r.moves, m)
	defer m.say(r.o.Out)
	fmt.Fprintf(r.o.Out, "move %d: %s -> %s, traffic with %s\n", m.n, from, to, m.peer)
	before, err := r.dc.Lab.Switch.LostAtPorts(mover)
	if err != nil {
		return err
	}
	if m.newcomers, err = r.awaitNewcomers(ctx, m); err != nil {
		return err
	}
	defer m.newcomers.stop()
	if err := r.talkAnew(ctx, m); err != nil {
		return err
	}
	m.start = r.mark()
	steps := func() error {
		for _, s := range r.spoil.order(r.o.order()) {
			if err := s.do(r, ctx, m); err != nil {
				return err
			}
		}
		return nil
	}
	if r.o.Fault != "" {
		err = r.dropping(steps)
	} else {
		err = steps()
	}
	if err != nil {
		return err
	}
	m.end, m.ended = r.mark(), clock.Now()
	after, err := r.dc.Lab.Switch.LostAtPorts(mover)
	m.lost = after.Sub(before)
	return err
}

// prepare asks the management node for the move and waits until it is ready.
func (r *run) prepare(ctx context.Context, m *move) error {
	req := &v1.PrepareMoveRequest{Vm: m.id, To: m.to, Mode: r.o.modeName(), Addresses: r.o.Addresses.String(), Redirect: r.o.Redirect.String(),
		NewConnections: r.o.New.String(), WaitNs: int64(r.o.slow(10 * time.Second))}
	if err := r.stage(ctx, m, stagePrepare); err != nil {
		return err
	}
	res, err := r.dc.Mgmt.PrepareMove(ctx, connect.NewRequest(req))
	if err != nil {
		return fmt.Errorf("scenario: prepare %s from %s to %s: %w", m.id, m.from, m.to, err)
	}
	if res.Msg.Move.State != "ready" {
		return fmt.Errorf("scenario: prepare %s to %s: the move is %s: %s", m.id, m.to, res.Msg.Move.State, res.Msg.Move.Error)
	}
	m.epoch = res.Msg.Move.Epoch
	m.delivery = map[netip.Addr][]netip.Addr{}
	for _, d := range res.Msg.Move.Deliveries {
		pair, err := parseAddrs([]string{d.Old, d.Delivery})
		if err != nil {
			return err
		}
		m.delivery[pair[0]] = append(m.delivery[pair[0]], pair[1])
	}
	if m.counted, err = r.redirected(ctx, m); err != nil {
		return err
	}
	return r.stage(ctx, m, stageReady)
}

// release tells the source that the VM stops there now.
func (r *run) release(ctx context.Context, m *move) error {
	res, err := r.dc.Agent(m.from).ReleaseVM(ctx, connect.NewRequest(&v1.ReleaseVMRequest{Vm: m.id}))
	if err != nil {
		return fmt.Errorf("scenario: release %s at %s: %w", m.id, m.from, err)
	}
	m.armTook = time.Duration(res.Msg.TookNs)
	return r.stage(ctx, m, stageReleased)
}

// carry takes the VM from one hypervisor to the other: for the length of the
// pause it is nowhere.
func (r *run) carry(ctx context.Context, m *move) error {
	if err := r.dc.Lab.Switch.Disconnect(mover); err != nil {
		return err
	}
	stopped := clock.Now()
	if err := r.stage(ctx, m, stagePaused); err != nil {
		return err
	}
	clock.SleepUntil(stopped + r.o.Pause)
	if err := r.dc.Lab.Switch.Connect(mover, m.to); err != nil {
		return err
	}
	r.at = m.to
	return r.stage(ctx, m, stageResumed)
}

// activate tells the destination that the VM runs there, and gives the VM its
// new addresses where it got some.
func (r *run) activate(ctx context.Context, m *move) error {
	res, err := r.dc.Agent(m.to).ActivateVM(ctx, connect.NewRequest(&v1.ActivateVMRequest{Vm: m.id, WaitNs: int64(r.o.slow(10 * time.Second))}))
	if err != nil {
		return fmt.Errorf("scenario: activate %s at %s: %w", m.id, m.to, err)
	}
	if err := r.stage(ctx, m, stageActivated); err != nil {
		return err
	}
	if !res.Msg.Committed {
		return fmt.Errorf("scenario: activate %s at %s: COMMIT was not answered", m.id, m.to)
	}
	if m.fresh, err = parseAddrs(res.Msg.Addresses); err != nil {
		return err
	}
	if r.olds, err = parseAddrs(res.Msg.OldAddresses); err != nil {
		return err
	}
	r.slots = m.fresh
	if err := r.dc.Lab.Renumber(mover, m.fresh, r.olds); err != nil {
		return err
	}
	if err := r.stage(ctx, m, stageCommitted); err != nil {
		return err
	}
	if !r.o.away {
		m.newcomers.begin(ctx)
	}
	return nil
}

// settle waits until every holder has confirmed the move, and lets the traffic
// run on for a while. In that time others try to reach the VM, and it opens
// connections of its own.
func (r *run) settle(ctx context.Context, m *move) error {
	if err := r.until(ctx, unconfirmed); err != nil {
		return err
	}
	if err := r.stage(ctx, m, stageConfirmed); err != nil {
		return err
	}
	if err := r.countRedirect(ctx, m); err != nil {
		return err
	}
	r.fromVM(ctx, m)
	clock.SleepUntil(m.times[stageConfirmed] + r.o.Settle)
	m.newcomers.enough(ctx)
	return r.countRedirect(ctx, m)
}

func parseAddrs(list []string) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, s := range list {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return nil, fmt.Errorf("scenario: a program names an address %q: %w", s, err)
		}
		out = append(out, a)
	}
	return out, nil
}

// atHome reports whether an address lies in the VM range of a hypervisor.
func atHome(p *topology.Plan, a netip.Addr, hv string) bool {
	h, _ := p.Hypervisor(hv)
	return h.Range.V6.Contains(a) || h.Range.V4.Contains(a)
}
