package sim

import (
	"testing"

	"github.com/dpmip/dpmip/mgmt"
)

// TestProofsHappen: the schedules put proofs to the test. Where no delivery
// address is installed, none is said to lead anywhere, and no move gets ready.
func TestProofsHappen(t *testing.T) {
	t.Parallel()
	if seen := countProofs(sabotage{}, mgmt.ProofDelivery); seen[mgmt.ProofSeen] == 0 || seen[mgmt.ProofNotAsked] == 0 {
		t.Errorf("proofs of ordinary schedules: %v", seen)
	}
	seen := countProofs(sabotage{noDelivery: true}, mgmt.ProofDelivery)
	if seen[mgmt.ProofSeen] != 0 || seen[mgmt.ProofMissing] == 0 {
		t.Errorf("proofs where nothing delivers: %v", seen)
	}
}

// TestRehearsalsHappen: the schedules put rehearsals to the test. Where routers
// confirm what their kernels do not have, no probe address is seen, and no routed
// move gets ready.
func TestRehearsalsHappen(t *testing.T) {
	t.Parallel()
	for _, kind := range []mgmt.ProofKind{mgmt.ProofAnnounced, mgmt.ProofRetracted} {
		if seen := countProofs(sabotage{}, kind); seen[mgmt.ProofSeen] == 0 {
			t.Errorf("proofs %s of ordinary schedules: %v", kind, seen)
		}
	}
	seen := countProofs(sabotage{falseConfirm: true}, mgmt.ProofAnnounced)
	if seen[mgmt.ProofSeen] != 0 || seen[mgmt.ProofMissing] == 0 {
		t.Errorf("where routers say what is not true: %v", seen)
	}
}

// countProofs counts the proofs of a kind after some schedules.
func countProofs(sb sabotage, kind mgmt.ProofKind) map[mgmt.ProofState]int {
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
					if p.Kind == kind {
						count[p.State]++
					}
				}
			}
		}
	}
	return count
}
