package faults

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dpmip/dpmip/testbed/scenario"
	"github.com/dpmip/dpmip/testbed/topology"
)

const torn = "dpmip_agent_bul_torn"

// TestDamagedRegion: bytes of the region change while the agent is dead. Its
// successor throws away what is damaged, counts it, takes it from disk, touches
// no forwarding, and the VM can move on.
func TestDamagedRegion(t *testing.T) {
	flip := func(b []byte, at int) { b[at] ^= 0x40 }
	entry := func(w *world, b []byte) {
		id, n := []byte(w.vm(mover).ID), 0
		for at := 0; ; n++ {
			i := bytes.Index(b[at:], id)
			if i < 0 {
				break
			}
			flip(b, at+i)
			at += i + len(id)
		}
		if n == 0 {
			w.t.Fatal("the region does not name the mover")
		}
	}
	family(t, scenario.Settings{}, nil, []testCase{
		{"an entry at the destination", func(w *world) { damagedRegion(w, func(m *move) string { return m.to }, 1, entry) }},
		{"an entry at the source", func(w *world) { damagedRegion(w, func(m *move) string { return m.from }, 1, entry) }},
		{"the region's header", func(w *world) {
			damagedRegion(w, func(m *move) string { return m.to }, 0, func(_ *world, b []byte) { flip(b, 20) })
		}},
		{"everything", func(w *world) {
			damagedRegion(w, func(m *move) string { return m.to }, 0, func(_ *world, b []byte) {
				for i := range b {
					b[i] = 0xa5
				}
			})
		}},
		{"the file is gone", func(w *world) {
			damagedRegion(w, func(m *move) string { return m.to }, 0, nil)
		}},
	})
}

func damagedRegion(w *world, where func(*move) string, wantTorn float64, damage func(*world, []byte)) {
	w.t.Helper()
	m := w.plan()
	f := w.talk(topology.CN, "vm3")
	m.prepare().finish()
	node := where(m)
	before := w.rules(node)
	w.kill(node)
	path := filepath.Join(w.dir(node), "region")
	if damage == nil {
		w.must(os.Remove(path))
	} else {
		b, err := os.ReadFile(path)
		w.must(err)
		damage(w, b)
		w.must(os.WriteFile(path, b, 0o600))
	}
	f.more("the region is damaged")
	if damage != nil && wantTorn == 0 { // not a region any more: nobody but the operator gives it up
		said, err := w.refused(node, "dpmip-agent", w.config(node))
		if err == nil || !strings.Contains(said, path) || !strings.Contains(said, "corrupt") {
			w.t.Errorf("an agent on a region without a header: %v, it said %q; want an error that names the file", err, said)
		}
		f.more("the agent has refused the region")
		w.must(os.Remove(path))
	}
	w.start(node)
	if got := w.metrics(node)[torn]; got < wantTorn {
		w.t.Errorf("%s is %v at %s, want at least %v", torn, got, node, wantTorn)
	}
	if v, err := w.record(w.agent(node), m.id); err != nil || v == nil || v.Epoch != m.epoch {
		w.t.Errorf("the record of the mover at %s after the damage: %v, %v; want epoch %d", node, v, err, m.epoch)
	}
	w.sameRules(node, before)
	f.more("the successor runs")
	w.plan().prepare().finish()
	f.more("the next move")
	f.whole()
}
