package sim

import (
	"testing"
)

// sabotageSeeds is within how many schedules every sabotage must be noticed.
const sabotageSeeds = 400

// TestSabotageIsNoticed: each thing done wrong on purpose breaks an invariant in
// some schedule. The same schedules pass without it: TestSchedules runs them.
func TestSabotageIsNoticed(t *testing.T) {
	t.Parallel()
	for _, name := range sortedKeys(sabotages) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			failed := runSeeds(1, sabotageSeeds, 1, sabotages[name])
			if len(failed) == 0 {
				t.Fatalf("%d schedules passed", sabotageSeeds)
			}
			t.Logf("seed %d: %v", failed[0], run(Generate(failed[0]), sabotages[name], nil))
		})
	}
}
