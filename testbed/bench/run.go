package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/dpmip/dpmip/internal/buildinfo"
)

// Options of a run.
type Options struct {
	Bin   string   // directory of the programs
	Arm64 string   // file of the agent for arm64, stripped
	Dir   string   // for files on a real disk, made if need be
	Only  []string // groups; empty = all
	Quick bool     // fewer rounds
	Long  bool     // every cell of the matrix, 1000 moves each
	Seed  uint64
	Out   io.Writer // what is being measured, as it happens
}

// group is one subject of the benchmarks.
type group struct {
	name, what string
	run        func(context.Context, *Options) ([]Figure, error)
}

// groups in the order of running: what needs a quiet machine first.
var groups = []group{
	{"forwarding", "a redirect against the kernel's route", forwarding},
	{"fastpath", "a redirect by flower filters against the software backend", fastPath},
	{"routes", "host routes against ip -batch", hostRoutes},
	{"filters", "flower filters against tc -batch", filters},
	{"redirects", "10 000 redirects in one batch", redirects},
	{"codec", "messages", codec},
	{"bul", "a binding update list of 1 000 000 entries", bindingList},
	{"registrations", "durable registrations against bbolt", registrations},
	{"restart", "100 000 VMs register again", restart},
	{"start", "an agent with 100 000 bindings and 10 000 rules starts", starts},
	{"agent", "size, memory and idling of dpmip-agent", agentCosts},
	{"arming", "from the command to the first redirected packet", arming},
	{"moves", "hot moves under traffic", moves},
}

// Groups lists what there is to measure.
func Groups() []string {
	var out []string
	for _, g := range groups {
		out = append(out, fmt.Sprintf("%-14s %s", g.name, g.what))
	}
	return out
}

// Run measures. A figure that misses its limit is no error.
func Run(ctx context.Context, o Options) (*Report, error) {
	for _, name := range o.Only {
		if !slices.ContainsFunc(groups, func(g group) bool { return g.name == name }) {
			return nil, fmt.Errorf("bench: no group %q; there are\n%s", name, strings.Join(Groups(), "\n"))
		}
	}
	if o.Out == nil {
		o.Out = io.Discard
	}
	begin := time.Now()
	r := &Report{Taken: begin, Version: buildinfo.Version(), Machine: thisMachine(), Quick: o.Quick}
	for _, g := range groups {
		if len(o.Only) > 0 && !slices.Contains(o.Only, g.name) {
			continue
		}
		fmt.Fprintf(o.Out, "%s: %s\n", g.name, g.what)
		start := time.Now()
		figures, err := g.run(ctx, &o)
		if errors.Is(err, errElsewhere) && len(o.Only) == 0 {
			fmt.Fprintf(o.Out, "%s: %v; see docs/benchmarks.md\n", g.name, err)
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("bench: %s: %w", g.name, err)
		}
		for i := range figures {
			figures[i].Group = g.name
		}
		fmt.Fprintf(o.Out, "%s: %.1f s\n", g.name, time.Since(start).Seconds())
		r.Figures = append(r.Figures, figures...)
	}
	r.Seconds = time.Since(begin).Seconds()
	return r, nil
}

// rounds is n, or a fraction of it in a quick run.
func (o *Options) rounds(n int) int {
	if o.Quick {
		return max(3, n/5)
	}
	return n
}
