package scenario

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/testbed/topology"
)

// Peers of the moving VM.
const (
	PeerOutside     = "outside"          // the correspondent node
	PeerSource      = "source-host"      // a VM beside the source
	PeerDestination = "destination-host" // a VM beside the destination
	PeerThird       = "third-host"       // a VM on the third hypervisor
)

// Options of a hot-move run. Defaults gives the usual ones.
type Options struct {
	Redirect  mobility.RedirectMode
	Addresses mobility.Addressing
	New       mobility.NewConnections
	Family    string // "4", "6" or "dual"
	Peer      string
	Moves     int
	PPS       int           // datagrams per second, each way and family
	TCP       int           // connections, shared among the families
	Pause     time.Duration // how long the VM stands still in a move
	Settle    time.Duration // watched after a move, before the next
	Hold      int           // packets that an agent holds at most; 0 = its default
	Seed      uint64
	Pcap      string // directory for captures; "" = the run's own, gone with it
	Capture   bool   // record every fabric link and check what is on it
	Sabotage  string // "" = none
	Fault     string // between two data centres; "" = none
	Interior  string // of two data centres: what carries routes inside; "" = ospf
	Attach    string // how eBPF programs are attached: "", "tcx" or "cls_bpf"
	Backend   string // of the agents: "" or "software", "switchdev"
	// Slow is how many times slower the machine is than one of metal, an emulated
	// one for example; 0 = 1. Waits are as many times as long; beyond 1 TCP
	// time-outs are counted and not judged.
	Slow int

	Bin string    // directory of the programs
	Out io.Writer // the timeline, as it happens

	scenario string                                 // name in the result; "" = hot-move
	steps    []step                                 // of a move; nil = the usual ones
	ring     []string                               // hypervisors, the way round; nil = A, B, C
	two      *TwoSites                              // where the run is in two data centres
	named    *named                                 // where connections are opened by name
	between  func(*run, context.Context, hop) error // done before each move; nil = nothing
	mode     string                                 // of a move; "" = hot
	away     bool                                   // the VM is unreachable for a time: judged from then on
}

// Defaults is a translated move with kept IPv6 addresses.
func Defaults() Options {
	return Options{Redirect: mobility.RedirectTranslated, Addresses: mobility.AddressesKeep, New: mobility.PolicyRedirect,
		Family: "6", Peer: PeerOutside, Moves: 3, PPS: 1000, TCP: 8, Pause: 50 * time.Millisecond, Settle: 300 * time.Millisecond,
		Seed: 1, Capture: true, Bin: "bin", Out: io.Discard}
}

// Validate refuses what makes no sense, with a reason.
func (o *Options) Validate() error {
	m := mobility.MoveOptions{Mode: mobility.ModeHot, Addresses: o.Addresses, Redirect: o.Redirect, New: o.New}
	if err := m.Validate(); err != nil {
		return err
	}
	if err := o.possible(); err != nil {
		return err
	}
	for _, c := range []struct {
		name, value string
		allowed     []string
	}{
		{"family", o.Family, []string{"4", "6", "dual"}},
		{"peer", o.Peer, []string{PeerOutside, PeerSource, PeerDestination, PeerThird}},
		{"fault", o.Fault, append([]string{""}, FaultNames()...)},
		{"interior", o.Interior, append([]string{""}, InteriorNames()...)},
		{"attach", o.Attach, []string{"", "tcx", "cls_bpf"}},
		{"backend", o.Backend, []string{"", "software", "switchdev"}},
		{"sabotage", o.Sabotage, append([]string{""}, sabotageNames()...)},
	} {
		if !slices.Contains(c.allowed, c.value) {
			return fmt.Errorf("scenario: %s %q: want one of %s", c.name, c.value, strings.Join(c.allowed, " "))
		}
	}
	switch {
	case o.Moves < 1 || o.Moves > 10000:
		return fmt.Errorf("scenario: %d moves: want 1 to 10000", o.Moves)
	case o.PPS < 1 || o.PPS > 50000:
		return fmt.Errorf("scenario: %d packets per second: want 1 to 50000", o.PPS)
	case o.TCP < 0 || o.TCP > 1000:
		return fmt.Errorf("scenario: %d connections: want 0 to 1000", o.TCP)
	case o.Pause < 0 || o.Pause > o.longest():
		return fmt.Errorf("scenario: a pause of %v: want 0 to %v", o.Pause, o.longest())
	case o.Hold < 0:
		return fmt.Errorf("scenario: a hold of %d packets: want 0 (the agent's default) or more", o.Hold)
	case o.Slow < 0 || o.Slow > 100:
		return fmt.Errorf("scenario: a machine %d times slower: want 1 to 100", o.Slow)
	case o.Interior == InteriorISIS && o.Fault == FaultUnannounced:
		return fmt.Errorf("scenario: fault %s with interior %s: isisd passes over \"match interface\", every ToR announces", o.Fault, o.Interior)
	case (o.Fault == FaultRestart || o.Fault == FaultSessions) && o.Redirect != mobility.RedirectRouted:
		return fmt.Errorf("scenario: fault %s is of a routed move: translated, the traffic goes by the home, whose routers it would cut off", o.Fault)
	case o.Backend == "switchdev" && o.Attach != "":
		return fmt.Errorf("scenario: attach %q is of the software backend: leave it away with switchdev", o.Attach)
	}
	return nil
}

// settings are what a data centre needs for the run.
func (o *Options) settings() Settings {
	return Settings{Bin: o.Bin, Seed: o.Seed, Attach: o.Attach, Backend: o.Backend, Slow: o.Slow, Interior: o.Interior, Extra: o.holds()}
}

// longest is how long the VM may stand still.
func (o *Options) longest() time.Duration {
	if o.scenario == nameWarm {
		return warmPauseMax
	}
	return 2 * time.Second
}

// slow is how many times longer d takes on the run's machine.
func (o *Options) slow(d time.Duration) time.Duration { return d * time.Duration(max(o.Slow, 1)) }

// families lists 6 and 4 as asked for.
func (o *Options) families() []int {
	switch o.Family {
	case "4":
		return []int{4}
	case "6":
		return []int{6}
	}
	return []int{6, 4}
}

// ring is the way round: A, B, C, A, ...
var ring = []string{topology.HVA, topology.HVB, topology.HVC}

// round is the way round of this run.
func (o *Options) round() []string {
	if o.ring == nil {
		return ring
	}
	return o.ring
}

func (o *Options) name() string {
	if o.scenario == "" {
		return "hot-move"
	}
	return o.scenario
}

func (o *Options) modeName() string {
	if o.mode == "" {
		return "hot"
	}
	return o.mode
}

func (o *Options) order() []step {
	if o.steps == nil {
		return moveSteps
	}
	return o.steps
}
