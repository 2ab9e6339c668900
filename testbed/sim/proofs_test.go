package sim

import (
	"testing"

	"github.com/dpmip/dpmip/mgmt"
)

// TestProofsHappen: the schedules put proofs to the test. Where no delivery
// address is installed, none is said to lead anywhere, and no move gets ready.
func TestProofsHappen(t *testing.T) {
	t.Parallel()
	if seen := countProofs(sabotage{}); seen[mgmt.ProofSeen] == 0 || seen[mgmt.ProofNotAsked] == 0 {
		t.Errorf("proofs of ordinary schedules: %v", seen)
	}
	seen := countProofs(sabotage{noDelivery: true})
	if seen[mgmt.ProofSeen] != 0 || seen[mgmt.ProofMissing] == 0 {
		t.Errorf("proofs where nothing delivers: %v", seen)
	}
}

// countProofs counts the proofs of delivery addresses after some schedules.
func countProofs(sb sabotage) map[mgmt.ProofState]int {
	count := map[mgmt.ProofState]int{}
	for seed := uint64(1); seed <= 40; seed++ {
		s := Generate(seed)
		w := newWorld(s, sb, nil)
		for _, o := range s.Ops {
			w.until(start.Add(o.At))
		}
		for _, moves := range w.mgmt.moves {
			for _, m := range moves {
				for _, p := range m.Proofs {
					if p.Kind == mgmt.ProofDelivery {
						count[p.State]++
					}
				}
			}
		}
	}
	return count
}
