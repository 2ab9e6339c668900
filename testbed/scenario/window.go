package scenario

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dpmip/dpmip/testbed/clock"
	"github.com/dpmip/dpmip/testbed/result"
)

// window is a stretch of time in which something else than a move is done to
// the network, and what may happen to the traffic in it.
type window struct {
	name     string
	from, to mark
	length   time.Duration
	lossless bool // else what is lost is told, and connections must live
}

// watch does something within a window of its own, and lets the traffic run on
// for a while before it ends.
func (r *run) watch(ctx context.Context, name string, lossless bool, do func(context.Context) error) error {
	w := &window{name: name, lossless: lossless, from: r.mark()}
	began := clock.Now()
	fmt.Fprintf(r.o.Out, "%s\n", name)
	r.windows = append(r.windows, w)
	err := r.dropping(func() error { return do(ctx) })
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	clock.SleepUntil(clock.Now() + max(r.o.Settle, 200*time.Millisecond))
	w.to, w.length = r.mark(), clock.Now()-began
	return nil
}

// dropping does something during which ports may drop frames because they are
// unplugged: they are no reason to repeat the run.
func (r *run) dropping(do func() error) error {
	before, err := r.dc.Lab.Drops()
	if err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	after, err := r.dc.Lab.Drops()
	r.drops += after - before
	return err
}

// measured is what the endpoints counted in a window.
func (r *run) measured(w *window) result.Window {
	var x result.Move
	r.addTraffic(&x, w.from, w.to)
	return result.Window{Name: w.name, Length: result.Millis(w.length), UDP: x.UDP, Blackout: x.Blackout, TCP: x.TCP}
}

// problemsOfWindows judges windows: connections live, nothing comes twice, and
// nothing is lost where nothing has to be.
func (r *run) problemsOfWindows(measured []result.Window) (out []string) {
	for i, x := range measured {
		bad := func(n uint64, what string) {
			if n > 0 {
				out = append(out, fmt.Sprintf("%s: %d %s", x.Name, n, what))
			}
		}
		bad(uint64(x.TCP.Connections-x.TCP.Survived), "connections lost")
		bad(x.UDP.Duplicated, "datagrams duplicated")
		if r.windows[i].lossless {
			bad(x.UDP.Lost, "datagrams lost")
			bad(x.TCP.Timeouts, timeouts)
		}
	}
	return out
}

// forgivable are parts of problems that a move during an outage may have: what
// is sent into a cut link is lost.
var forgivable = []string{"datagrams lost", "datagrams reordered", timeouts, "did not arrive", "has counted nothing", "no redirected frame was seen", "fragments and other frames lost at a port where the VM was not"}

// unforgiven takes out of the problems what the moves during an outage may have.
func (r *run) unforgiven(problems []string) []string {
	return slices.DeleteFunc(problems, func(p string) bool {
		for _, m := range r.moves {
			forgiven := func(part string) bool { return strings.Contains(p, part) }
			if m.outage && strings.HasPrefix(p, m.String()+":") && slices.ContainsFunc(forgivable, forgiven) {
				return true
			}
		}
		return false
	})
}
