package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/testbed/clock"
	"github.com/dpmip/dpmip/testbed/result"
	"github.com/dpmip/dpmip/testbed/traffic"
)

// Bounds of the tries at new connections after a COMMIT.
const (
	newcomersWanted = 50 // of each family and protocol
	// newcomersEvery is slow enough for the limit that a hypervisor has for the
	// ICMP errors it sends to one host, and fast enough for all tries to be over
	// before a redirect that nothing else uses can drain.
	newcomersEvery = 6 * time.Millisecond
	refusedWithin  = 100 * time.Millisecond
	// unansweredAfter is less than a TCP's first retransmission: a try is one
	// packet.
	unansweredAfter = 400 * time.Millisecond
)

// newcomers are tries at new connections to the addresses that the VM had
// before a move.
type newcomers struct {
	services []*traffic.Service
	wanted   []traffic.AttemptConfig
	tries    []*traffic.Attempts
	from     time.Duration
	patience time.Duration // until all have an outcome
}

// awaitNewcomers makes the VM answer on its addresses of now.
func (r *run) awaitNewcomers(ctx context.Context, m *move) (*newcomers, error) {
	n := &newcomers{patience: r.o.slow(patience)}
	for _, fam := range r.o.families() {
		to := netip.AddrPortFrom(ofFamily(r.slots, fam), r.dc.unusedPort())
		s, err := traffic.Serve(ctx, r.dc.Lab.Node(mover).NS, to)
		if err != nil {
			n.stop()
			return nil, fmt.Errorf("scenario: %s: %w", m, err)
		}
		n.services = append(n.services, s)
		for _, network := range []string{"tcp", "udp"} {
			n.wanted = append(n.wanted, traffic.AttemptConfig{Network: network, From: r.end(m.peer, fam, 0), To: to,
				Interval: r.o.slow(newcomersEvery), Timeout: r.o.slow(unansweredAfter), Count: newcomersWanted})
		}
	}
	return n, nil
}

// unusedPort is one that nobody has ever used in this data centre: a flow of an
// earlier run that has the same ports by chance would not be new.
func (d *DataCentre) unusedPort() uint16 {
	d.ports++
	return portNew + d.ports%portsNew
}

// begin starts the tries.
func (n *newcomers) begin(ctx context.Context) {
	n.from = clock.Now()
	for _, c := range n.wanted {
		n.tries = append(n.tries, traffic.StartAttempts(ctx, c))
	}
}

// enough waits until there are as many as wanted, and ends them.
func (n *newcomers) enough(ctx context.Context) {
	deadline := clock.Now() + n.patience
	for _, a := range n.tries {
		for len(a.Tries()) < newcomersWanted && clock.Now() < deadline && ctx.Err() == nil {
			clock.SleepUntil(clock.Now() + 5*time.Millisecond)
		}
	}
	for _, a := range n.tries {
		a.Stop()
	}
}

func (n *newcomers) stop() {
	for _, a := range n.tries {
		a.Stop()
	}
	for _, s := range n.services {
		s.Close()
	}
}

// judge says what came of the tries, and how that breaks the policy.
func (n *newcomers) judge(policy mobility.NewConnections) (sum result.NewConnections, problems []string) {
	for i, a := range n.tries {
		r := a.Report(n.from, 0)
		sum.Attempted += r.Attempted
		sum.Accepted += r.Accepted
		sum.Refused += r.Refused
		sum.Unanswered += r.Unanswered
		c := n.wanted[i]
		if why := improper(a, c.Network, policy); why != "" {
			problems = append(problems, fmt.Sprintf("new %s connections to %s: %s", c.Network, c.To, why))
		}
		if why := broken(r, policy); why != "" {
			problems = append(problems, fmt.Sprintf("new %s connections to %s: %d tried, %d accepted, %d refused (%v at most), %d unanswered: want %s%s",
				c.Network, c.To, r.Attempted, r.Accepted, r.Refused, r.MaxRefused, r.Unanswered, why, firstError(a, policy)+stalledBy(a.Tries(), c.Timeout, policy)))
		}
	}
	return sum, problems
}

// improper says whether a TCP connection was refused by anything but a reset.
func improper(a *traffic.Attempts, network string, policy mobility.NewConnections) string {
	if network != "tcp" || policy != mobility.PolicyReject {
		return ""
	}
	for _, t := range a.Tries() {
		if t.Outcome == traffic.Refused && !errors.Is(t.Err, syscall.ECONNREFUSED) {
			return fmt.Sprintf("not refused by a reset: %v", t.Err)
		}
	}
	return ""
}

// late marks a problem that a busy machine can be the reason of: the run is
// repeated before it counts.
const late = "all refused within"

// broken names the rule that a report breaks.
func broken(r traffic.AttemptReport, policy mobility.NewConnections) string {
	switch {
	case r.Attempted < newcomersWanted:
		return fmt.Sprintf("at least %d", newcomersWanted)
	case policy == mobility.PolicyDrop && r.Unanswered != r.Attempted:
		return "no answer"
	case policy == mobility.PolicyReject && r.Refused != r.Attempted:
		return "all refused"
	case policy == mobility.PolicyReject && r.MaxRefused > refusedWithin:
		return fmt.Sprintf("%s %v", late, refusedWithin)
	case policy == mobility.PolicyRedirect && r.Accepted != r.Attempted:
		return "all accepted"
	}
	return ""
}

// stalled marks a problem that the lab itself is the reason of, which did not run
// when its time had come; stall is how late that is.
const (
	stalled = "the lab's own timers were late"
	stall   = 20 * time.Millisecond
)

// stalledBy tells whether each try that should have been answered in time, and
// was not, was given up much later than its time-out: then nobody ran.
func stalledBy(tries []traffic.Attempt, timeout time.Duration, policy mobility.NewConnections) string {
	if policy != mobility.PolicyRedirect {
		return ""
	}
	late := 0
	for _, t := range tries {
		switch {
		case t.Outcome == traffic.Accepted:
		case t.Outcome != traffic.Unanswered || t.Took < timeout+stall:
			return ""
		default:
			late++
		}
	}
	if late == 0 {
		return ""
	}
	return "; " + stalled
}

// firstError shows one outcome that was not wanted.
func firstError(a *traffic.Attempts, policy mobility.NewConnections) string {
	want := map[mobility.NewConnections]traffic.Outcome{mobility.PolicyDrop: traffic.Unanswered, mobility.PolicyReject: traffic.Refused, mobility.PolicyRedirect: traffic.Accepted}[policy]
	for i, t := range a.Tries() {
		if t.Outcome != want {
			return fmt.Sprintf(" (number %d: %s after %v: %v)", i+1, t.Outcome, t.Took.Round(time.Millisecond), t.Err)
		}
	}
	return ""
}
