package sim

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestShrinkKeepsTheInvariant: what is left breaks what the whole schedule broke.
// Here a cut of c breaks one invariant and, with a detach before it, another.
func TestShrinkKeepsTheInvariant(t *testing.T) {
	t.Parallel()
	whole, err := Parse(`seed 7
noise 3 2 1
guest vm1 a 6
guest vm2 b 6
1s attach vm1
2s attach vm2
3s detach vm1
4s kill m 2 1s
5s cut m c 3s
6s abort vm2
`)
	if err != nil {
		t.Fatal(err)
	}
	history := func(s *Schedule) *Violation {
		has := func(verb string) bool { return slices.ContainsFunc(s.Ops, func(o Op) bool { return o.Verb == verb }) }
		switch {
		case has("cut") && has("detach"):
			return &Violation{Rule: "the other"}
		case has("cut"):
			return &Violation{Rule: "one"}
		}
		return nil
	}
	small := Shrink(whole, shrinkBudget, sameFailure(history(whole), history))
	var left []string
	for _, o := range small.Ops {
		left = append(left, o.Verb)
	}
	if d := cmp.Diff([]string{"detach", "cut"}, left); d != "" {
		t.Errorf("operations left (-want +got):\n%s", d)
	}
}

// TestRulesAreTheSameForAll: two findings of one kind have one rule, also where one
// was found in another.
func TestRulesAreTheSameForAll(t *testing.T) {
	t.Parallel()
	find := func(vm string, n int) finding {
		return findingf("a prepared arrival in epoch %d", n).in("%s at %s: ", vm, "a")
	}
	a, b := find("vm1", 3), find("vm2", 4)
	if a.rule != b.rule || a.text != "vm1 at a: a prepared arrival in epoch 3" {
		t.Errorf("rules %q and %q, text %q", a.rule, b.rule, a.text)
	}
	if got := (finding{}).in("%s: ", "vm1"); got != (finding{}) {
		t.Errorf("nothing was found, and it is %+v", got)
	}
}
