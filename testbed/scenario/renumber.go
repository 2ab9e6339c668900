package scenario

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/testbed/clock"
	"github.com/dpmip/dpmip/testbed/result"
)

// Renumber moves a VM that gets new addresses in every move: connections that
// are older stay alive through the redirect, and what clients open by name finds
// the new addresses as their resolver's cache lets go of the old ones. BIND
// serves the name.
func Renumber(ctx context.Context, o Options) (*Report, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.Addresses != mobility.AddressesRenumber || o.New != mobility.PolicyRedirect {
		return nil, errors.New("scenario: renumber is about moves with --addresses renumber and --new redirect")
	}
	set := Settings{Bin: o.Bin, Seed: o.Seed, Attach: o.Attach, Drain: time.Second}
	n := Named(&set)
	dc, err := Start(ctx, set)
	if err != nil {
		return nil, err
	}
	o.scenario, o.named, o.steps = "renumber", &named{service: n}, renumberSteps
	rep, err := HotMoveIn(ctx, dc, o)
	return rep, errors.Join(err, dc.Close())
}

// renumberSteps is a move that the DNS hears of before and after.
var renumberSteps = []step{
	{"prepare", (*run).prepare}, {"lowered", (*run).lowered}, {"release", (*run).release}, {"carry", (*run).carry},
	{"activate", (*run).activate}, {"named", (*run).named}, {"settle", (*run).settle}, {"direct", (*run).direct},
}

// Stages of a move that concern the DNS.
const (
	stageLowered = "ttl lowered, as the secondary serves it"
	stageNamed   = "new address, as the secondary serves it"
	stageDirect  = "new connections go direct"
)

// lowered waits until caches can hold the old address for no longer than the
// lowered TTL: it is served, and what was cached before has run out.
func (r *run) lowered(ctx context.Context, m *move) error {
	n := r.o.named
	if err := n.begin(ctx, r); err != nil {
		return err
	}
	if err := n.await(ctx, r, func(_ []netip.Addr, ttl time.Duration) bool { return ttl == ttlMove }); err != nil {
		return err
	}
	if err := r.stage(ctx, m, stageLowered); err != nil {
		return err
	}
	clock.SleepUntil(clock.Now() + ttlUsual)
	return ctx.Err()
}

// named waits until the name leads to the new address.
func (r *run) named(ctx context.Context, m *move) error {
	err := r.o.named.await(ctx, r, func(addrs []netip.Addr, _ time.Duration) bool {
		return slices.Contains(addrs, ofFamily(m.fresh, r.o.families()[0]))
	})
	if err != nil {
		return err
	}
	return r.stage(ctx, m, stageNamed)
}

// direct waits until every client goes direct.
func (r *run) direct(ctx context.Context, m *move) error {
	n := r.o.named
	if err := n.wait(ctx, "clients that go direct", func() bool { return n.allDirect(m) }); err != nil {
		return err
	}
	return r.stage(ctx, m, stageDirect)
}

// finish ends the clients and waits until the DNS is at rest: the usual TTL is
// proved at every server.
func (n *named) finish(ctx context.Context, r *run) error {
	last := r.moves[len(r.moves)-1]
	err := n.wait(ctx, "a receipt that has the restored TTL", func() bool {
		res, err := r.dc.Mgmt.GetReceipt(ctx, connect.NewRequest(&v1.GetReceiptRequest{Vm: last.id, Epoch: last.epoch}))
		return err == nil && slices.ContainsFunc(res.Msg.Receipt.Names, func(x *v1.NamesReport) bool { return x.Stage == "restore_ttl" && x.Outcome == "proved" })
	})
	if _, ttl, aerr := n.service.Addresses(ctx, r.o.families()[0]); err == nil && (aerr != nil || ttl != ttlUsual) {
		r.problem("the secondary serves a TTL of %v after the drain, want %v (%v)", ttl, ttlUsual, aerr)
	}
	for _, m := range r.moves {
		r.problems = append(r.problems, n.judge(m)...)
	}
	return err
}

// await asks the secondary until its answer is as wanted.
func (n *named) await(ctx context.Context, r *run, ok func([]netip.Addr, time.Duration) bool) error {
	var last string
	err := n.wait(ctx, nameOfVM, func() bool {
		addrs, ttl, err := n.service.Addresses(ctx, r.o.families()[0])
		last = fmt.Sprintf("%v, TTL %v, %v", addrs, ttl, err)
		return err == nil && ok(addrs, ttl)
	})
	if err != nil {
		err = fmt.Errorf("%w; the secondary serves %s", err, last)
	}
	return err
}

// wait polls until ok, for as long as patience goes.
func (n *named) wait(ctx context.Context, what string, ok func() bool) error {
	for deadline := clock.Now() + patience; !ok(); clock.SleepUntil(clock.Now() + 2*time.Millisecond) {
		if ctx.Err() != nil || clock.Now() > deadline {
			return fmt.Errorf("scenario: no %s within %v", what, patience)
		}
	}
	return nil
}

// judge says what the clients of a move met that they must not.
func (n *named) judge(m *move) (problems []string) {
	shares := n.shares(m)
	for _, s := range shares {
		if s.Failed > 0 {
			problems = append(problems, fmt.Sprintf("%s: %d of %d connections by name failed %v ms after COMMIT", m, s.Failed, s.Attempted, s.At))
		}
	}
	if len(shares) < 2 || shares[0].At >= 0 {
		problems = append(problems, fmt.Sprintf("%s: no connection by name before COMMIT", m))
	}
	return problems
}

func sharesOf(list []result.Share) []*v1.DirectShare {
	var out []*v1.DirectShare
	for _, s := range list {
		out = append(out, &v1.DirectShare{SinceCommitNs: int64(s.At), LengthNs: int64(s.Length), Attempted: uint32(s.Attempted),
			Direct: uint32(s.Direct), Redirected: uint32(s.Redirected), Failed: uint32(s.Failed)})
	}
	return out
}

// printNames shows what the DNS was seen to serve, and where new connections
// went.
func (r *Receipt) printNames(w io.Writer) {
	committed := r.phase("committed")
	for _, x := range r.Names {
		fmt.Fprintf(w, "  name         %s in %s by the %s, version %d.%d: %s", x.Stage, x.Zone, x.By, x.Epoch, x.Step, x.Outcome)
		if x.Failure != "" {
			fmt.Fprintf(w, " (%s)", x.Failure)
		}
		for _, s := range x.Servers {
			fmt.Fprintf(w, "; %s serves serial %d at %s", s.Server, s.Serial, sinceCommit(s.SeenNs, committed))
		}
		fmt.Fprintln(w)
	}
	if r.Endpoints == nil || len(r.Endpoints.Direct) == 0 {
		return
	}
	fmt.Fprint(w, "  by name      new connections that went direct:")
	for _, s := range r.Endpoints.Direct {
		fmt.Fprintf(w, " %+dms %d/%d", s.SinceCommitNs/int64(time.Millisecond), s.Direct, s.Attempted)
	}
	fmt.Fprintln(w)
}

// sinceCommit is a moment against that of COMMIT.
func sinceCommit(ns, committed int64) string {
	if ns == 0 {
		return "no time"
	}
	d := time.Duration(ns - committed).Round(100 * time.Microsecond)
	if d < 0 {
		return d.String()
	}
	return "+" + d.String()
}
