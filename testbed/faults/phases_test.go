package faults

import (
	"slices"
	"testing"
	"time"

	"github.com/dpmip/dpmip/testbed/scenario"
	"github.com/dpmip/dpmip/testbed/topology"
)

// phase is a point of a move, and the fault that happens there.
type phase struct {
	name string
	move func(w *world, m *move, fault func())
}

// phases of a move. In each, fault is called once, and the move then has to end
// as if nothing had happened.
var phases = []phase{
	{"prepare unanswered by the destination", func(w *world, m *move, fault func()) {
		answer := w.stun(m.to)
		_, err := m.ask(0)
		w.must(err)
		m.state("preparing")
		fault()
		answer()
		m.state("ready")
		m.finish()
	}},
	{"prepare unanswered by the source", func(w *world, m *move, fault func()) {
		answer := w.stun(m.from)
		_, err := m.ask(0)
		w.must(err)
		m.state("preparing")
		fault()
		answer()
		m.state("ready")
		m.finish()
	}},
	{"prepared", func(w *world, m *move, fault func()) {
		m.prepare()
		fault()
		m.state("ready")
		m.finish()
	}},
	{"released", func(w *world, m *move, fault func()) {
		m.prepare()
		m.release()
		fault()
		m.carry()
		m.activate(10 * time.Second)
		m.confirmed()
	}},
	{"held", func(w *world, m *move, fault func()) {
		m.prepare()
		m.release()
		m.carry()
		fault()
		m.activate(10 * time.Second)
		m.confirmed()
	}},
	{"activated, COMMIT unanswered", func(w *world, m *move, fault func()) {
		m.prepare()
		m.release()
		answer := w.stun(topology.Mgmt)
		m.carry()
		if m.activate(0) {
			w.t.Error("the COMMIT was answered by nobody")
		}
		fault()
		answer()
		m.confirmed()
	}},
	{"committed, phase 2 unanswered", func(w *world, m *move, fault func()) {
		m.prepare()
		m.release()
		m.carry()
		answer := w.stun(m.from)
		if !m.activate(10 * time.Second) {
			w.t.Error("the COMMIT was not answered")
		}
		fault()
		answer()
		m.confirmed()
	}},
	{"confirmed by all", func(w *world, m *move, fault func()) {
		m.prepare()
		m.finish()
		fault()
		m.confirmed()
	}},
}

// kind is a kind of move.
type kind struct {
	name string
	plan func(*world) *move
	// after is what must be true of a move that nothing has disturbed.
	after func(*world, *move, *flows)
	every bool // phase without -long, too
}

var kinds = []kind{
	{"translated", (*world).plan, func(*world, *move, *flows) {}, true},
	{"routed", (*world).routed, func(w *world, m *move, f *flows) {
		if m.to == topology.HVA {
			w.routesTo("")
			return
		}
		w.routesTo(m.to)
		w.bypassed(f, m.from)
	}, false},
	{"renumbered", (*world).renumbered, func(*world, *move, *flows) {}, false},
}

// sharp phases are those of every kind of move, in which most is under way.
var sharp = []string{"held", "activated, COMMIT unanswered", "committed, phase 2 unanswered"}

// TestKilledAtEachPhase kills one program at each phase of a move, and starts
// it again: the move goes on where it was, nothing acknowledged is lost, no
// packet is. Without -long, routed and renumbering moves in a few phases.
func TestKilledAtEachPhase(t *testing.T) {
	victims := []struct {
		name string
		node func(*move) string
	}{
		{"source", func(m *move) string { return m.from }},
		{"destination", func(m *move) string { return m.to }},
		{"management node", func(*move) string { return topology.Mgmt }},
	}
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			var cases []testCase
			for _, who := range victims {
				for _, p := range phases {
					if k.every || *long || slices.Contains(sharp, p.name) {
						cases = append(cases, testCase{who.name + ", " + p.name, func(w *world) { killedAt(w, k, p, who.node) }})
					}
				}
			}
			family(t, scenario.Settings{}, nil, cases)
		})
	}
}

func killedAt(w *world, k kind, p phase, victim func(*move) string) {
	f := w.talk()
	f.patient = true
	m := k.plan(w)
	p.move(w, m, func() { w.restart(victim(m)) })
	f.more("after the move")
	k.after(w, m, f)
	f.whole()
	m.drained()
}
