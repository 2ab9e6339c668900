package faults

import (
	"testing"

	"github.com/dpmip/dpmip/testbed/scenario"
	"github.com/dpmip/dpmip/testbed/topology"
)

// TestIPv4Underlay: nobody has an IPv6 locator; registrations and a whole round
// of moves are signalled over UDP 5436 only, and nothing is lost.
func TestIPv4Underlay(t *testing.T) {
	alone(t, scenario.Settings{Underlay: 4}, nil, func(w *world) {
		f := w.talk()
		for range 3 {
			m := w.plan().prepare()
			m.finish()
			f.more(m.from + " -> " + m.to)
		}
		f.whole()
		if w.at != topology.HVA {
			t.Errorf("the round ended at %s", w.at)
		}
	})
}
