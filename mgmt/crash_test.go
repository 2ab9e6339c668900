package mgmt

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dpmip/dpmip/mobility"
)

// crashScenarios are commands after each of which the world comes to rest.
var crashScenarios = map[string][]string{
	"kept, routed and home": {
		"register vm1 a 2001:db8:a:1::1", "prepare vm1 b redirect=routed", "activate vm1 b",
		"prepare vm1 c redirect=translated", "activate vm1 c", "drain vm1 b 2001:db8:a:1::1",
		"prepare vm1 a redirect=routed", "activate vm1 a", "drain vm1 c 2001:db8:a:1::1",
	},
	"renumbered": {
		"register vm1 a 2001:db8:a:1::1 10.1.0.1", "prepare vm1 b addresses=renumber redirect=routed new=reject",
		"activate vm1 b 2001:db8:b:1::1 10.2.0.1", "drain vm1 a 2001:db8:a:1::1 10.1.0.1",
	},
	"a full router, and room again": {
		"register vm1 a 2001:db8:a:1::1", "register vm2 a 2001:db8:a:1::2", "limit ta 1",
		"prepare vm1 b redirect=routed", "activate vm1 b", "wait 8s", "prepare vm2 b redirect=routed", "activate vm2 b", "traffic b vm1=500 vm2=5",
		"wait 12s", "prepare vm1 a redirect=routed", "activate vm1 a", "wait 12s",
	},
	"aborted": {
		"register vm1 a 2001:db8:a:1::1", "prepare vm1 b", "abort vm1", "prepare vm1 b", "activate vm1 b",
	},
	"aborted without its destination": {
		"register vm1 a 2001:db8:a:1::1", "prepare vm1 b", "abort vm1 fenced=test", "wait 100s", "prepare vm1 c", "activate vm1 c",
	},
	"rehearsed": {
		"prover a send catch", "prover b send catch", "prover ta send installed absent", "prover s send installed absent",
		"register vm1 a 2001:db8:a:1::1 10.1.0.1", "prepare vm1 b redirect=routed", "activate vm1 b",
		"prepare vm1 a redirect=routed", "abort vm1",
	},
	"source lost, cold, gone": {
		"register vm1 a 2001:db8:a:1::1", "lost vm1 b by=test", "activate vm1 b",
		"prepare vm1 c mode=cold redirect=routed", "activate vm1 c", "deregister vm1 c", "wait 200s",
	},
}

// TestCrashAnywhere runs each scenario once for each effect of the management
// node, which crashes there: with the effect lost, and with it just done. After
// its restart from the store the end must be the same.
func TestCrashAnywhere(t *testing.T) {
	t.Parallel()
	for name, commands := range crashScenarios {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want, effects := runCrash(t, commands, 0, false)
			if effects < 20 {
				t.Fatalf("only %d effects: the scenario does not run", effects)
			}
			step := max(1, effects/120)
			if testing.Short() {
				step *= 7
			}
			for at := 1; at <= effects; at += step {
				for _, lose := range []bool{false, true} {
					got, _ := runCrash(t, commands, at, lose)
					if d := cmp.Diff(want, got); d != "" {
						t.Fatalf("crash at effect %d of %d, lost %v: end state (-want +got):\n%s", at, effects, lose, d)
					}
				}
			}
		})
	}
}

// runCrash runs the commands with a crash at an effect (0 = none) and gives the
// end state and the number of effects.
func runCrash(t *testing.T, commands []string, at int, lose bool) ([]string, int) {
	w := newWorld(t, testInventory+"proofs = { observers = [\"ta\", \"s\"], probes = [\"2001:db8:a:fffe::/64\", \"10.9.0.0/16\"] }\nbudget = { interval = \"1s\", settle = \"5s\" }\n")
	w.wait(2 * time.Second)
	w.effects, w.crashAt, w.lose, w.probing.comeBack = 0, at, lose, true
	for _, cmd := range commands {
		w.robust(strings.Fields(cmd))
	}
	return w.state(), w.effects
}

// robust carries a command out although the management node may crash: an
// operator asks again, and an agent's Request is repeated by itself.
func (w *world) robust(f []string) {
	before := w.next
	w.attempt(f)
	w.rest()
	if _, done := w.done[w.next]; w.next != before && !done {
		w.attempt(f)
		w.rest()
	}
}

// attempt is exec for a management node that may be gone in the middle.
func (w *world) attempt(f []string) {
	if w.core == nil {
		w.boot()
	}
	switch vm := mobility.NAI(f[min(1, len(f)-1)]); f[0] {
	case "prepare", "lost":
		_, host, _, keys := args(f[1:])
		o := optionsFrom(w.t, keys)
		w.issue(func(id CommandID) Event {
			if f[0] == "lost" {
				return SourceLost{ID: id, VM: vm, To: host, FencedBy: keys["by"]}
			}
			return Prepare{ID: id, VM: vm, To: host, Options: o}
		})
	case "abort":
		_, _, _, keys := args(f[1:])
		w.issue(func(id CommandID) Event { return Abort{ID: id, VM: vm, DestinationFencedBy: keys["fenced"]} })
	case "wait":
		d, _ := time.ParseDuration(f[1])
		for end := w.now.Add(d); w.now.Before(end); {
			w.rest()
		}
	default:
		w.exec(f)
	}
}

func (w *world) issue(make func(CommandID) Event) {
	w.next++
	w.step(make(w.next))
}

// rest lets time pass until nobody waits for an answer, starting the management
// node again where it has crashed.
func (w *world) rest() {
	for range 200 {
		if w.core == nil {
			w.boot()
		}
		w.wait(time.Second)
		busy := w.core == nil || w.core.Outbox() > 0 || len(w.core.pending) > 0
		for _, h := range w.hosts {
			busy = busy || len(h.asked) > 0
		}
		if !busy {
			return
		}
	}
	w.t.Fatalf("no rest after a crash at effect %d (lost %v): outbox %d\n%s", w.crashAt, w.lose, w.core.Outbox(), strings.Join(w.log[max(0, len(w.log)-20):], "\n"))
}

// state is what matters in the end: records and what the hosts hold.
func (w *world) state() []string {
	w.log = nil
	for _, b := range w.core.Bindings("", "", 0) {
		w.printBinding(b.VM)
		for _, m := range w.core.Moves(b.VM, false, 0) {
			w.sayMove(m)
		}
	}
	for _, name := range sortedKeys(w.hosts) {
		for _, vm := range sortedVMs(w.hosts[name].vms) {
			v := w.hosts[name].vms[vm]
			slices.SortFunc(v.routes, func(a, b addr) int { return a.Compare(b) })
			w.say("%s %s: serving %d redirects %v routes %v", name, vm, v.serving, v.redirects, slices.Compact(v.routes))
		}
	}
	return w.log
}

func optionsFrom(t *testing.T, keys map[string]string) (o mobility.MoveOptions) {
	t.Helper()
	for key, into := range map[string]interface{ UnmarshalText([]byte) error }{"mode": &o.Mode, "addresses": &o.Addresses, "redirect": &o.Redirect, "new": &o.New} {
		if s, ok := keys[key]; ok {
			if err := into.UnmarshalText([]byte(s)); err != nil {
				t.Fatal(fmt.Errorf("%s: %w", key, err))
			}
		}
	}
	return o
}
