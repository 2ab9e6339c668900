package scenario

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/testbed/clock"
	"github.com/dpmip/dpmip/testbed/netns"
	"github.com/dpmip/dpmip/testbed/topology"
)

// Stages of a move between data centres beyond those of a move.
const (
	stageEntry = "provider leads to " // and the border router's name
	stageIGP   = "IGP has it"
)

// reach waits until the provider's kernel leads to the border router that it
// should, for every address.
func (r *run) reach(ctx context.Context, m *move) error {
	want := r.entryOf(m.to)
	err := r.poll(ctx, func() (string, error) {
		for _, a := range r.slots {
			got, err := r.o.two.fabric.entry(a)
			if err != nil || got != want {
				return fmt.Sprintf("the provider leads %s to %s, want %s", a, got, want), err
			}
		}
		return "", nil
	})
	if err != nil {
		return fmt.Errorf("%w\n%s", err, r.o.two.fabric.told(r.slots))
	}
	return r.stage(ctx, m, stageEntry+want)
}

// poll waits until nothing is missing any more.
func (r *run) poll(ctx context.Context, missing func() (string, error)) error {
	deadline := clock.Now() + patience
	for {
		what, err := missing()
		if err != nil || what == "" {
			return err
		}
		if clock.Now() > deadline {
			return fmt.Errorf("scenario: after %v still: %s", patience, what)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("scenario: %s: %w", what, ctx.Err())
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// sampled is for how long frames are counted at the provider's ports.
const sampled = 200 * time.Millisecond

// prove looks at where the traffic really goes, after everybody has confirmed,
// and at what others have learnt.
func (r *run) prove(ctx context.Context, m *move) error {
	f := r.o.two.fabric
	if err := r.counted(m); err != nil {
		return err
	}
	routed := r.o.Redirect == mobility.RedirectRouted && !atHome(&r.dc.Lab.Plan, r.slots[0], m.to)
	if routed {
		if err := r.carried(ctx, m); err != nil {
			return err
		}
		if err := r.rehearsed(ctx, m); err != nil {
			return err
		}
	}
	for _, a := range r.slots {
		p := netip.PrefixFrom(a, a.BitLen())
		says, err := f.birds[topology.Provider].Route(p)
		if err != nil {
			return err
		}
		if routed && (!strings.Contains(says, "(65000,5436)") || !strings.Contains(says, "(65535,65281)")) {
			r.problem("%s: the provider's route for %s lacks the operator's community or NO_EXPORT:\n%s", m, p, says)
		}
	}
	learnt, err := f.learnt(topology.Third)
	if err == nil && len(learnt) > 0 {
		r.problem("%s: the third site has learnt %v", m, learnt)
	}
	return err
}

// counted compares what the provider sends to each border router with what it
// should: all of the VM's traffic to one of them.
func (r *run) counted(m *move) error {
	want := r.entryOf(m.to)
	ns := r.dc.Lab.Node(topology.Provider).NS
	before, err := sentBy(ns)
	if err != nil {
		return err
	}
	clock.SleepUntil(clock.Now() + sampled)
	after, err := sentBy(ns)
	if err != nil {
		return err
	}
	right, wrong := uint64(0), uint64(0)
	for name := range after {
		if n := after[name] - before[name]; name == want {
			right = n
		} else {
			wrong += n
		}
	}
	// The other border router gets BGP's own frames, and few.
	if enough := uint64(r.o.PPS) * uint64(sampled/time.Millisecond) / 2000; right < enough || wrong*20 > right && wrong > 20 {
		r.problem("%s: in %v the provider sent %d frames to %s and %d to the other border router", m, sampled, right, want, wrong)
	}
	fmt.Fprintf(r.o.Out, "                 in %v the provider sent %d frames to %s, %d to the other border router\n", sampled, right, want, wrong)
	return nil
}

// sentBy are the frames that the provider has sent to each border router.
func sentBy(ns *netns.NS) (map[string]uint64, error) {
	out := map[string]uint64{}
	for _, name := range []string{topology.Border1, topology.Border2} {
		l, err := ns.Link(name)
		if err != nil {
			return nil, err
		}
		out[name] = l.Attrs().Statistics.TxPackets
	}
	return out, nil
}

// carried waits until a router that announces no host route itself, here the FRR
// of the other site's border, has the host routes from the IGP.
func (r *run) carried(ctx context.Context, m *move) error {
	f := r.o.two.fabric
	err := r.poll(ctx, func() (string, error) {
		for _, a := range r.slots {
			ok, err := f.byIGP(topology.Border1, a)
			if err != nil || !ok {
				return fmt.Sprintf("the FRR of %s has no route of the IGP for %s", topology.Border1, a), err
			}
		}
		return "", nil
	})
	if err != nil {
		return err
	}
	return r.stage(ctx, m, stageIGP)
}

// byIGP reports whether the FRR of a router has a host route from the IGP.
func (f *fabric) byIGP(node string, a netip.Addr) (bool, error) {
	word := "ip"
	if a.Is6() {
		word = "ipv6"
	}
	var routes map[string][]struct {
		Protocol string `json:"protocol"`
	}
	p := netip.PrefixFrom(a, a.BitLen()).String()
	if err := f.frr[node].JSON(fmt.Sprintf("show %s route %s json", word, p), &routes); err != nil {
		return false, err
	}
	for _, x := range routes[p] {
		if f.in.carries(x.Protocol) {
			return true, nil
		}
	}
	return false, nil
}

// told is, for people, what is known of addresses at the edge.
func (f *fabric) told(as []netip.Addr) string {
	var b strings.Builder
	for _, a := range as {
		p := netip.PrefixFrom(a, a.BitLen())
		says, err := f.birds[topology.Provider].Route(p)
		fmt.Fprintf(&b, "provider: %s %v\n", says, err)
		for _, n := range []string{topology.Border1, topology.Border2} {
			route, err := f.lookup(n, a)
			fmt.Fprintf(&b, "%s: %+v %v\n", n, route, err)
		}
	}
	return b.String()
}
