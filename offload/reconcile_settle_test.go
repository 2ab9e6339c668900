package offload_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/haltest"
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
