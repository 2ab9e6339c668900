package switchdev

import (
	"strings"
	"testing"

	"github.com/dpmip/dpmip/hwabstraction"
)

// TestFastAwaySlowSwitchFastBack is the order of every switch.
func TestFastAwaySlowSwitchFastBack(t *testing.T) {
	t.Parallel()
	run(t, true, func(b *bench) {
		here, away, back := stamp(1, 1), stamp(1, 2), stamp(1, 3)
		b.put(delivery(old4, old4, here), redirection(old4, there4, away, hwabstraction.NewRedirect))
		b.do(b.dev.Activate(here))
		b.expect(b.rest(), `slow: activate
			miss put
			rule put
			entry put`)
		b.do(b.dev.Arm(away))
		b.expect(b.read(), `gate closed
			slow: arm`)
		b.expect(b.rest(), `entry removed
			rule removed
			miss removed
			gate opened`)
		b.packet(old4)
		b.expect(b.pass(2*lastPoll), `miss put
			rule put
			entry put`)
		b.do(b.dev.Disarm(away))
		b.expect(b.read(), `gate closed
			slow: disarm`)
		b.expect(b.rest(), `rule removed
			rule put
			gate opened`)
		b.put(holding(delivery(here4, old4, back)), delivery(old4, old4, back))
		b.do(b.dev.Activate(back))
		b.expect(b.rest(), "slow: activate")
		b.expect(b.pass(2*DefaultQuiet), `miss put
			rule put
			entry put`)
		b.do(b.dev.GiveBack(b.Context(), back)) // active: no change
		b.expect(b.rest(), `gate closed
			slow: give back
			gate opened`)
		changed := delivery(old4, old4, stamp(1, 4))
		b.dev.Apply(b.Context(), []hwabstraction.Change{hwabstraction.Put(changed)})
		b.expect(strings.Join(strings.Split(b.read(), "\n")[:2], "\n"), `gate closed
			slow: apply`)
		b.rest()
		b.dev.Apply(b.Context(), []hwabstraction.Change{hwabstraction.Put(changed)})
		b.expect(b.rest(), "slow: apply") // nothing changes
	})
}

// TestHoldIsOver: a delivery is slow while anything is held, and a while longer.
func TestHoldIsOver(t *testing.T) {
	t.Parallel()
	run(t, true, func(b *bench) {
		st := stamp(1, 1)
		b.put(holding(delivery(here4, old4, st)))
		b.packet(here4)
		b.do(b.dev.Activate(st))
		b.pass(DefaultQuiet / 2)
		if n := len(b.table.all()); n != 0 {
			t.Errorf("%d filters while what was held may be on its way", n)
		}
		b.pass(DefaultQuiet)
		if n := len(b.table.all()); n == 0 {
			t.Error("no filters after the hold was over")
		}
	})
}
