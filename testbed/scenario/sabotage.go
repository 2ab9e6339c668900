package scenario

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/dpmip/dpmip/mobility"
)

// sabotage spoils one thing in a run that must then fail: a harness that does
// not see it proves nothing. All of it is done by the lab, from outside; the
// programs have no such switches. docs/lab.md tells what each one proves.
type sabotage struct {
	name string
	what string
	// want are parts of what the verdict must say: a run that fails for another
	// reason proves nothing either.
	want []string
	// set changes the run so that the fault can show; nil = nothing.
	set func(*Options)
	// steps is the order of a move; nil = the usual one.
	steps []step
	// stages are what is done when a move reaches a stage.
	stages map[string]func(context.Context, *run, *move) error
	abort  bool // the scenario is that of an abort
}

var sabotages = []sabotage{
	{name: "arm-late", what: "the source arms only after the VM has gone", want: []string{"lost at a port where the VM was not", "datagrams lost"},
		steps: []step{moveSteps[0], moveSteps[2], moveSteps[1], moveSteps[3], moveSteps[4]}},
	{name: "no-hold", what: "the destination does not hold what comes before the VM", want: []string{"datagrams lost"},
		stages: map[string]func(context.Context, *run, *move) error{stageReady: dropHold}},
	{name: "no-delivery", what: "the destination has no rule for the delivery addresses", want: []string{"datagrams lost", "connections lost"},
		stages: map[string]func(context.Context, *run, *move) error{stageReady: dropDelivery, stageActivated: dropDelivery}},
	{name: "no-conntrack", what: "the source has forgotten which flows were there before the move", want: []string{"datagrams lost"},
		set: func(o *Options) {
			o.Addresses, o.New = mobility.AddressesRenumber, mobility.PolicyDrop
		},
		stages: map[string]func(context.Context, *run, *move) error{stagePaused: forgetFlows}},
	{name: "stale-epoch", what: "the serving hypervisor accepts what an earlier move said", want: []string{"datagrams lost"},
		set:    func(o *Options) { o.Moves = 2 },
		stages: map[string]func(context.Context, *run, *move) error{stageConfirmed: acceptStale}},
	{name: "home-drain", what: "the redirect of a kept address is drained at its home", want: []string{"datagrams lost"},
		stages: map[string]func(context.Context, *run, *move) error{stageConfirmed: drainHome}},
	{name: "early-withdraw", what: "a host route goes while routers behind it still lead to it", want: []string{"datagrams lost"},
		set:    func(o *Options) { o.Redirect = mobility.RedirectRouted },
		stages: map[string]func(context.Context, *run, *move) error{stageConfirmed: withdrawEarly}},
	{name: "early-give-back", what: "an abort gives back before the source has disarmed", want: []string{"datagrams lost"}, abort: true,
		stages: map[string]func(context.Context, *run, *move) error{stageResumed: giveBackEarly}},
}

func sabotageNamed(name string) *sabotage {
	for i := range sabotages {
		if sabotages[i].name == name {
			return &sabotages[i]
		}
	}
	return nil
}

func sabotageNames() []string {
	var out []string
	for _, s := range sabotages {
		out = append(out, s.name)
	}
	return out
}

// order is the order of a move's steps.
func (s *sabotage) order(usual []step) []step {
	if s == nil || s.steps == nil {
		return usual
	}
	return s.steps
}

// at does what is to be done at a stage.
func (s *sabotage) at(ctx context.Context, r *run, m *move, stage string) error {
	if s == nil || s.stages[stage] == nil {
		return nil
	}
	if err := s.stages[stage](ctx, r, m); err != nil {
		return fmt.Errorf("scenario: sabotage %s: %w", s.name, err)
	}
	return nil
}

// seen says why a report does not show the sabotage; "" = it does.
func (s *sabotage) seen(rep *Report) string {
	all := strings.Join(rep.Problems, "\n")
	for _, w := range s.want {
		if !strings.Contains(all, w) {
			return fmt.Sprintf("the verdict does not say %q", w)
		}
	}
	return ""
}

// Sabotages runs each sabotage, and each scenario once without, and says how
// many showed what they must.
func Sabotages(ctx context.Context, bin string, out io.Writer) (passed, failed int, err error) {
	note := func(name, why string, took time.Duration) {
		if why == "" {
			passed++
			fmt.Fprintf(out, "ok      %-28s %5.1f s\n", name, took.Seconds())
			return
		}
		failed++
		fmt.Fprintf(out, "FAILED  %-28s %5.1f s  %s\n", name, took.Seconds(), why)
	}
	for _, name := range append([]string{"", "abort"}, sabotageNames()...) {
		start := time.Now()
		why := oneSabotage(ctx, bin, name)
		if errors.Is(ctx.Err(), context.Canceled) {
			return passed, failed, ctx.Err()
		}
		switch name {
		case "":
			name = "control: hot-move"
		case "abort":
			name = "control: abort"
		}
		note(name, why, time.Since(start))
	}
	return passed, failed, nil
}

// oneSabotage says what is wrong; a control must have no problem, a sabotage
// must be seen.
func oneSabotage(ctx context.Context, bin, name string) string {
	o := Defaults()
	o.Bin, o.Moves = bin, 1
	s := sabotageNamed(name)
	scenario := HotMove
	if name == "abort" || s != nil && s.abort {
		scenario = Abort
	}
	if s != nil {
		o.Sabotage = name
		if s.set != nil {
			s.set(&o)
		}
	}
	rep, err := scenario(ctx, o)
	switch {
	case err != nil:
		return err.Error()
	case s != nil:
		return s.seen(rep)
	}
	return strings.Join(rep.Problems, "; ")
}

// List names every scenario and sabotage, a line each.
func List() []string {
	out := []string{
		"run hot-move: a VM moves A -> B -> C -> A under traffic",
		"run abort: a prepared and released move is aborted, the VM stays",
		"run idle: a TCP connection that conntrack has forgotten lives on after the move",
		"run renumber: a VM moves with new addresses; its name follows in the DNS, new connections go direct",
		"run inter-dc: a VM moves between two data centres and back, by BGP or translated, with or without a fault",
		"run warm: the VM stands still for seconds; what is sent to it waits, up to the bounds of the hold",
		"run cold: a move that leaves nothing at the source; the VM is reached once the routers lead to it",
		"run source-lost: the source dies with the VM, which goes on elsewhere by the operator's word",
		"matrix: every kind of hot move, judged at the endpoints, at the ports and on every link",
		"sabotage: every sabotage below, each of which must be seen",
	}
	for _, s := range slices.Clone(sabotages) {
		scenario := "hot-move"
		if s.abort {
			scenario = "abort"
		}
		out = append(out, "run "+scenario+" --sabotage "+s.name+": "+s.what)
	}
	return out
}
