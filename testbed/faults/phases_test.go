package faults

import (
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

// TestKilledAtEachPhase kills one program at each phase of a move, and starts
// it again: the move goes on where it was, nothing acknowledged is lost, no
// packet is.
func TestKilledAtEachPhase(t *testing.T) {
	for _, who := range []struct {
		name string
		node func(*move) string
	}{
		{"source", func(m *move) string { return m.from }},
		{"destination", func(m *move) string { return m.to }},
		{"management node", func(*move) string { return topology.Mgmt }},
	} {
		t.Run(who.name, func(t *testing.T) {
			var cases []testCase
			for _, p := range phases {
				cases = append(cases, testCase{p.name, func(w *world) {
					f := w.talk()
					f.patient = true
					m := w.plan()
					p.move(w, m, func() { w.restart(who.node(m)) })
					f.more("after the move")
					f.whole()
				}})
			}
			family(t, scenario.Settings{}, nil, cases)
		})
	}
}
