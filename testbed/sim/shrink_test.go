package sim

import "testing"

// TestShrinkKeepsTheInvariant: what is left breaks what the whole schedule broke.
// Each of these has a smaller one that breaks something else.
func TestShrinkKeepsTheInvariant(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		sabotage string
		seed     uint64
	}{
		{"ack-before-durable", 72},
		{"drain-kept-at-home", 18},
		{"stale-epoch", 47},
		{"early-withdraw", 122},
	} {
		t.Run(tc.sabotage, func(t *testing.T) {
			t.Parallel()
			sb, whole := sabotages[tc.sabotage], Generate(tc.seed)
			v := run(whole, sb, nil)
			if v == nil {
				t.Fatalf("seed %d breaks nothing", tc.seed)
			}
			small := Shrink(whole, 60, sameFailure(v, sb))
			if len(small.Ops) >= len(whole.Ops) {
				t.Errorf("%d of %d operations are left:\n%s", len(small.Ops), len(whole.Ops), small)
			}
			if got := run(small, sb, nil); got == nil || got.Rule != v.Rule {
				t.Errorf("shrunk from %v\nto %v:\n%s", v, got, small)
			}
		})
	}
}
