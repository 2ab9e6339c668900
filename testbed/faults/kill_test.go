package faults

import (
	"testing"
	"time"

	"github.com/dpmip/dpmip/testbed/scenario"
)

// TestKilledAgents: agents are dead for a while, with every learned neighbour
// forgotten, and nobody notices; their successors own the same rules.
func TestKilledAgents(t *testing.T) {
	family(t, scenario.Settings{}, nil, []testCase{
		{"source during a redirect", killSource},
		{"destination once active", killDestination},
		{"destination during a hold", killHolding},
		{"source between PREPARE and COMMIT", func(w *world) { killBetween(w, func(m *move) string { return m.from }) }},
		{"destination between PREPARE and COMMIT", func(w *world) { killBetween(w, func(m *move) string { return m.to }) }},
	})
}

// deadFor kills the node's agent for a while under traffic.
func deadFor(w *world, f *flows, node string, d time.Duration) {
	w.t.Helper()
	before := w.rules(node)
	noticed := w.restarts(node)
	w.kill(node)
	w.flushNeighbours()
	f.more("the agent at " + node + " is dead")
	w.pass(d)
	f.more("the agent at " + node + " is still dead")
	w.start(node)
	w.sameRules(node, before)
	noticed()
}

func killSource(w *world) {
	m := w.plan()
	f := w.talk()
	m.prepare().finish()
	hits := w.hits(m.from, "redirect")
	deadFor(w, f, m.from, shortOr(4*time.Second, 120*time.Second))
	f.more("the end")
	if now := w.hits(m.from, "redirect"); now <= hits {
		w.t.Errorf("the redirect at %s counted %d packets before and %d after: it was not what kept the VM reachable", m.from, hits, now)
	}
	f.whole()
}

func killDestination(w *world) {
	m := w.plan()
	f := w.talk()
	m.prepare().finish()
	deadFor(w, f, m.to, shortOr(4*time.Second, 120*time.Second))
	f.whole()
}

func killHolding(w *world) {
	m := w.plan()
	f := w.talk()
	f.patient = true
	m.prepare()
	before := w.rules(m.to)
	m.release()
	m.carry()
	w.kill(m.to)
	w.flushNeighbours()
	w.pass(shortOr(time.Second, 5*time.Second))
	w.start(m.to)
	w.sameRules(m.to, before)
	v, err := w.record(w.agent(m.to), m.id)
	w.must(err)
	if v == nil || v.Held == 0 {
		w.t.Errorf("the successor at %s holds nothing: %v", m.to, v)
	}
	if !m.activate(slower(10 * time.Second)) {
		w.t.Errorf("the successor at %s activated, but did not commit", m.to)
	}
	m.confirmed()
	f.more("the successor has activated")
	f.whole()
}

func killBetween(w *world, victim func(*move) string) {
	m := w.plan()
	f := w.talk()
	node := victim(m)
	m.prepare()
	before := w.rules(node)
	noticed := w.restarts(node)
	w.restart(node)
	w.sameRules(node, before)
	noticed()
	m.state("ready")
	m.finish()
	f.whole()
}
