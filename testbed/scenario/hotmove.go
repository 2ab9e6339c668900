package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/testbed/clock"
	"github.com/dpmip/dpmip/testbed/result"
	"github.com/dpmip/dpmip/testbed/topology"
)

// mover is the VM that moves.
const mover = "vm1"

// Report is what came of a run: its figures, and all that is not as it must
// be.
type Report struct {
	*result.Run
	Receipts []*Receipt
	Problems []string
	// Void says why the run proves nothing and is to be repeated, for example
	// that the machine itself has dropped frames; "" = it stands.
	Void string
}

// tries is how often a void run is repeated.
const tries = 3

// run is one hot-move run under way.
type run struct {
	o        *Options
	dc       *DataCentre
	vm       topology.VM
	at       string       // hypervisor where the VM is
	slots    []netip.Addr // the VM's addresses now
	olds     []netip.Addr // addresses it had before and that still lead to it
	began    time.Duration
	sessions map[string]*session
	order    []string // of sessions, as opened
	moves    []*move
	windows  []*window
	circles  *result.Loops // nil = nobody looked
	paths    *result.Paths // nil = there are no filters
	links    *links        // captures; nil = none
	drops    uint64        // of the machine, when the run began
	spoil    *sabotage
	sleepers []*sleeper
	undo     []func() error
	problems []string
	void     string
}

// HotMove brings a data centre up, moves a VM round its hypervisors under
// traffic, and says what every move cost. An error means that the run could not
// be carried out.
func HotMove(ctx context.Context, o Options) (*Report, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	for n := 1; ; n++ {
		dc, err := Start(ctx, o.settings())
		if err != nil {
			return nil, err
		}
		rep, err := once(ctx, dc, &o)
		if err := errors.Join(err, dc.Close()); err != nil {
			return nil, err
		}
		if rep.Void == "" || n == tries {
			return rep, nil
		}
		fmt.Fprintf(o.Out, "again: %s\n", rep.Void)
	}
}

// HotMoveIn is HotMove in a data centre that is up, and stays up. Its VMs are
// attached if they are not; the mover goes on from where it is.
func HotMoveIn(ctx context.Context, dc *DataCentre, o Options) (*Report, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	for n := 1; ; n++ {
		rep, err := once(ctx, dc, &o)
		if err != nil || rep.Void == "" || n == tries {
			return rep, err
		}
		fmt.Fprintf(o.Out, "again: %s\n", rep.Void)
	}
}

// once is one run; a run whose figures stay void has failed.
func once(ctx context.Context, dc *DataCentre, o *Options) (*Report, error) {
	r := newRun(dc, o)
	err := r.all(ctx)
	if err == nil {
		err = r.readPaths(ctx)
	}
	for _, name := range r.order {
		r.sessions[name].stop()
	}
	if n := len(r.moves); n > 0 && r.moves[n-1].ended != 0 {
		// A connection that never answered is known as dead only now.
		r.moves[n-1].end.tcp = r.mark().tcp
	}
	for _, f := range r.undo {
		err = errors.Join(err, f())
	}
	if err == nil && r.spoil == nil {
		err = r.rest(ctx)
	}
	if err == nil && r.o.named != nil {
		err = r.o.named.finish(ctx, r)
	}
	err = errors.Join(err, r.stopLinks())
	if err != nil {
		return nil, dc.withLogs(err)
	}
	return r.report(ctx)
}

func newRun(dc *DataCentre, o *Options) *run {
	r := &run{o: o, dc: dc, began: clock.Now(), sessions: map[string]*session{}, spoil: sabotageNamed(o.Sabotage)}
	r.vm, _ = dc.Lab.Plan.VM(mover)
	return r
}

func (r *run) all(ctx context.Context) (err error) {
	if r.drops, err = r.dc.Lab.Drops(); err != nil {
		return err
	}
	if err := r.settleIn(ctx); err != nil {
		return err
	}
	fmt.Fprintf(r.o.Out, "%s runs at %s: %v\n", r.vm.ID, r.at, r.slots)
	if r.o.Capture || r.o.Pcap != "" {
		if err := r.startLinks(); err != nil {
			return err
		}
	}
	hops := r.hops()
	// All peers talk from the start: their connections are older than every move.
	for _, h := range hops {
		peer := r.peerNode(h.from, h.to)
		if r.sessions[peer] != nil {
			continue
		}
		if err := r.talk(ctx, peer, peer, r.o.PPS, r.o.TCP); err != nil {
			return err
		}
	}
	for _, h := range hops {
		if r.o.between != nil {
			if err := r.o.between(r, ctx, h); err != nil {
				return err
			}
		}
		if err := r.move(ctx, h.from, h.to); err != nil {
			return err
		}
	}
	if r.o.between != nil {
		return r.o.between(r, ctx, hop{from: r.at})
	}
	return nil
}

type hop struct{ from, to string }

// hops is the way round, from where the VM is.
func (r *run) hops() (out []hop) {
	at, ring := 0, r.o.round()
	for i, h := range ring {
		if h == r.at {
			at = i
		}
	}
	for i := range r.o.Moves {
		if r.o.scenario == nameAbort { // it never gets away, and tries both others
			out = append(out, hop{ring[at], ring[(at+1+i%2)%len(ring)]})
			continue
		}
		out = append(out, hop{ring[(at+i)%len(ring)], ring[(at+i+1)%len(ring)]})
	}
	return out
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
		for _, h := range r.o.round() {
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

// talk begins traffic between a peer and the VM on its addresses of now. It
// goes on to the end of the run: no connection is ever opened anew.
func (r *run) talk(ctx context.Context, name, peer string, pps, connections int) error {
	s, err := openSession(ctx, r, peer, len(r.order), pps, connections)
	if err != nil {
		return err
	}
	r.sessions[name] = s
	r.order = append(r.order, name)
	return nil
}

// talkAnew begins some more traffic where an earlier move has given the VM
// other addresses: what is about to become old is in use, too.
func (r *run) talkAnew(ctx context.Context, m *move) error {
	if m.n == 1 || r.o.Addresses != mobility.AddressesRenumber {
		return nil
	}
	return r.talk(ctx, fmt.Sprintf("%s, before move %d", m.peer, m.n), m.peer, max(r.o.PPS/5, 1), min(r.o.TCP, 2))
}

// mark is the moment of every session.
func (r *run) mark() mark {
	var all mark
	for _, name := range r.order {
		m := r.sessions[name].mark()
		all.udp, all.tcp = append(all.udp, m.udp...), append(all.tcp, m.tcp...)
	}
	return all
}

// problem notes what is not as it must be.
func (r *run) problem(format string, args ...any) {
	r.problems = append(r.problems, fmt.Sprintf(format, args...))
}
