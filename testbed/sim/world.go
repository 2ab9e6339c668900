package sim

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/dpmip/dpmip/agent"
	"github.com/dpmip/dpmip/mgmt"
	"github.com/dpmip/dpmip/mobility"
)

// start is when every history begins.
var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// World is one history under way.
type World struct {
	watched bool // see Schedule
	now     time.Time
	agenda  agenda
	rng     *rand.Rand
	net     *network
	log     func(string) // nil = no trace

	mgmt        *management
	hypervisors map[string]*hypervisor
	routers     map[string]*host
	guests      []*guest

	schedule *Schedule
	sabotage sabotage
	dirty    bool      // forwarding may have changed
	forgot   bool      // the management node's store was lost
	patient  time.Time // and no move is asked for before: everybody refreshes first
	failure  *Violation
}

// Violation is a broken invariant.
type Violation struct {
	At   time.Duration
	Rule string // which one: the same for every history that breaks it
	What string
}

func (v *Violation) Error() string { return fmt.Sprintf("sim: after %v: %s", v.At, v.What) }

func newWorld(s *Schedule, sb sabotage, log func(string)) *World {
	w := &World{
		now: start, rng: rand.New(rand.NewPCG(s.Seed, 0xd1b54a32d192ed03)), log: log, schedule: s, sabotage: sb, watched: s.Watched,
		hypervisors: map[string]*hypervisor{}, routers: map[string]*host{},
	}
	w.net = newNetwork(w, s.Noise)
	w.mgmt = newManagement(w)
	w.net.add(managementName, w.mgmt)
	for _, name := range hypervisorNames {
		w.hypervisors[name] = newHypervisor(w, name, s.Skew[name])
		w.net.add(name, w.hypervisors[name])
	}
	for _, name := range routerNames {
		w.routers[name] = newHost(w, name, s.Skew[name])
		w.net.add(name, w.routers[name])
	}
	for i, g := range s.Guests {
		w.guests = append(w.guests, newGuest(g.Name, i+1, g.Home, g.V6, g.V4))
	}
	for _, p := range w.processes() {
		p.start(false)
	}
	for _, o := range s.Ops {
		w.agenda.add(start.Add(o.At), func() {
			w.trace("== %s", o)
			verbs[o.Verb].do(w, o.Args)
		})
	}
	return w
}

func (w *World) processes() []*process {
	list := []*process{&w.mgmt.process}
	for _, name := range hypervisorNames {
		list = append(list, &w.hypervisors[name].process)
	}
	for _, name := range routerNames {
		list = append(list, &w.routers[name].process)
	}
	return list
}

func (w *World) process(name string) *process {
	for _, p := range w.processes() {
		if p.name == name {
			return p
		}
	}
	return nil
}

func (w *World) guest(name string) *guest {
	for _, g := range w.guests {
		if g.id.Bytes == name {
			return g
		}
	}
	return nil
}

// binding is the management node's record of a guest, or nil.
func (w *World) binding(g *guest) *mgmt.Binding {
	if w.mgmt.core == nil {
		return nil
	}
	return w.mgmt.core.Binding(g.id)
}

func (w *World) after(d time.Duration, f func()) { w.agenda.add(w.now.Add(d), f) }

func (w *World) trace(format string, args ...any) {
	if w.log != nil {
		w.log(fmt.Sprintf("%12v ", w.now.Sub(start)) + fmt.Sprintf(format, args...))
	}
}

// violate notes the first broken invariant; the history ends with it. The format
// names the invariant.
func (w *World) violate(format string, args ...any) { w.broken(findingf(format, args...)) }

func (w *World) broken(f finding) {
	if w.failure == nil {
		w.failure = &Violation{w.now.Sub(start), f.rule, f.text}
		w.trace("VIOLATION: %s", w.failure.What)
	}
}

// finding is something that is not as it should be; the zero finding: all is.
type finding struct {
	rule string // what all findings of its kind have in common
	text string // in words, of this one
}

func findingf(format string, args ...any) finding {
	return finding{format, fmt.Sprintf(format, args...)}
}

// in puts what was found where it was found.
func (f finding) in(format string, args ...any) finding {
	if f == (finding{}) {
		return f
	}
	return finding{format + f.rule, fmt.Sprintf(format, args...) + f.text}
}

// maxEvents bounds one history; more means that somebody never rests.
const maxEvents = 400_000

// until lets everything happen until a moment, or until an invariant breaks.
func (w *World) until(t time.Time) bool {
	for w.failure == nil && w.agenda.Len() > 0 && !w.agenda.list[0].at.After(t) {
		e := w.agenda.next()
		w.now = e.at
		e.do()
		if w.dirty && w.failure == nil {
			w.dirty = false
			w.check()
		}
		if w.agenda.seq > maxEvents {
			w.violate("no rest after %d events", w.agenda.seq)
		}
	}
	if w.failure == nil {
		w.now = t
	}
	return w.failure == nil
}

// Run follows one schedule and returns the first broken invariant, or nil.
// log takes a line for each thing that happens; nil = no trace.
func Run(s *Schedule, log func(string)) *Violation { return run(s, sabotage{}, log) }

func run(s *Schedule, sb sabotage, log func(string)) *Violation {
	w := newWorld(s, sb, log)
	end := start
	if n := len(s.Ops); n > 0 {
		end = start.Add(s.Ops[n-1].At)
	}
	if w.until(end.Add(time.Second)) {
		w.heal()
		w.settle()
	}
	return w.failure
}

// heal ends every fault.
func (w *World) heal() {
	w.trace("== all faults end")
	w.net.noise, w.net.cuts = Noise{}, map[[2]string]int{}
	w.mgmt.store.FailWith(nil)
	for _, name := range hypervisorNames {
		w.hypervisors[name].device.Calm()
		w.hypervisors[name].device.SetMaxRules(0)
	}
	for _, p := range w.processes() {
		p.fuse = 0
		if !p.alive {
			p.start(p.hard)
		}
	}
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

func sortedVMs[V any](m map[mobility.VMID]V) []mobility.VMID {
	return slices.SortedFunc(maps.Keys(m), func(a, b mobility.VMID) int { return strings.Compare(a.Bytes, b.Bytes) })
}

func sortedAddrs[V any](m map[netip.Addr]V) []netip.Addr {
	return slices.SortedFunc(maps.Keys(m), netip.Addr.Compare)
}

func notThere(err error) bool {
	var c *agent.CommandError
	return errors.As(err, &c) && c.Code == agent.CommandNotFound
}
