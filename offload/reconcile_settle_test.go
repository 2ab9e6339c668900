package offload_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/haltest"
	"github.com/dpmip/dpmip/offload"
)

// TestSettles drives random desires through a failing device and checks that,
// once it no longer fails, it holds exactly what is desired.
func TestSettles(t *testing.T) {
	t.Parallel()
	for seed := range uint64(150) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 1))
			b := newBench(t, haltest.Plan{Seed: seed, Chance: rng.Float64() * 0.6, Lose: rng.Float64() * 0.3})
			newest := redirectOf(stamp(9, 100), 900) // nobody here may touch it
			b.chaos.Foreign(newest)
			desired := map[byte][]hwabstraction.Rule{}
			epochs := map[byte]uint32{}
			for range 40 {
				o := byte(rng.IntN(5))
				epochs[o] += uint32(rng.IntN(2))
				s := stamp(o, epochs[o])
				desired[o] = nil
				for i := range 6 {
					switch rng.IntN(3) {
					case 0:
						desired[o] = append(desired[o], redirectOf(s, 10*int(o)+i))
					case 1:
						desired[o] = append(desired[o], deliverOf(s, 10*int(o)+i))
					}
				}
				b.desire(s, desired[o]...)
				if rng.IntN(8) == 0 {
					b.chaos.SetMaxRules(rng.IntN(20))
				}
				b.step()
			}
			b.chaos.SetMaxRules(0)
			lost := !slices.Contains(sorted(b.onDevice()), fmt.Sprintf("%+v", newest))
			b.chaos.Calm()
			var want []hwabstraction.Rule
			for o, rules := range desired {
				want = append(want, rules...)
				for n := 0; !b.r.Settled(stamp(o, 0).Owner); n++ {
					if n > 100 {
						t.Fatalf("not settled: %+v", b.r.Unsettled())
					}
					b.step()
				}
			}
			b.r.Resync()
			b.step() // what vanished last
			if !lost {
				want = append(want, newest)
			}
			b.expectDevice(want...)
			if open := b.r.Unsettled(); len(open) != 0 {
				t.Errorf("unsettled: %+v", open)
			}
		})
	}
}

// TestRuleThatCannotBeFoundIsPutAgain: a device that lists a rule and says that
// it sits nowhere has lost it. After Doubt the next Sync sees it, not only the
// next resynchronisation.
func TestRuleThatCannotBeFoundIsPutAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t, haltest.Plan{})
	rule := redirectOf(stamp(1, 1), 1)
	b.desire(stamp(1, 1), rule)
	b.sync()
	b.chaos.Place(rule.ID(), hwabstraction.PlacementNone)
	b.chaos.Applied()
	b.sync()
	if log := b.chaos.Applied(); len(log) != 0 {
		t.Errorf("without a reason it was changed: %v", log)
	}
	b.r.Doubt()
	b.sync()
	st, ok := b.r.Status(rule.ID())
	if log := b.chaos.Applied(); len(log) != 1 || log[0].Rule != rule || !ok || st.State != offload.StateApplied || st.Placement == hwabstraction.PlacementNone {
		t.Errorf("after doubt: changes %v, status %+v", log, st)
	}
}
