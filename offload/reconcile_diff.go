package offload

import (
	"cmp"
	"slices"

	"github.com/dpmip/dpmip/hwabstraction"
)

// Actual is what a device holds.
type Actual map[hwabstraction.RuleID]hwabstraction.Rule

// Claims says up to which epoch an owner's rules may be removed; an owner it
// does not name is foreign.
type Claims map[[16]byte]uint32

// stale tells whether a rule is one of ours that may go: claimed, and not
// newer than the claim.
func (c Claims) stale(r hwabstraction.Rule) bool {
	s := r.Stamped()
	upTo, ours := c[s.Owner]
	return ours && s.Epoch <= upTo
}

// Diff returns the changes that make actual into desired: puts in the order of
// desired, then deletes in the order of their IDs, so that nothing goes before
// its successor is there. It leaves alone what is foreign, what has a newer
// epoch than its claim, and desired rules whose place a newer epoch has taken.
// The exception to the order: an ID that passes from a claimed owner to another
// with a lower epoch is deleted right before it is put. It is pure.
func Diff(desired []hwabstraction.Rule, actual Actual, claims Claims) []hwabstraction.Change {
	var changes []hwabstraction.Change
	wanted := make(map[hwabstraction.RuleID]bool, len(desired))
	for _, r := range desired {
		wanted[r.ID()] = true
		changes = append(changes, placing(r, actual[r.ID()], claims)...)
	}
	var gone []hwabstraction.Rule
	for id, r := range actual {
		if !wanted[id] && claims.stale(r) {
			gone = append(gone, r)
		}
	}
	return append(changes, removals(gone)...)
}

// placing is what makes rule r be where the device has a.
func placing(r, a hwabstraction.Rule, claims Claims) []hwabstraction.Change {
	switch {
	case a == r:
		return nil
	case a == nil || !overtaken(r, a):
		return []hwabstraction.Change{hwabstraction.Put(r)}
	case a.Stamped().Owner != r.Stamped().Owner && claims.stale(a):
		return []hwabstraction.Change{hwabstraction.Remove(a.ID(), a.Stamped()), hwabstraction.Put(r)}
	}
	return nil
}

// overtaken tells whether a, which the device has, is newer than r.
func overtaken(r, a hwabstraction.Rule) bool {
	return a != nil && a.Stamped().Epoch > r.Stamped().Epoch
}

func removals(rules []hwabstraction.Rule) []hwabstraction.Change {
	slices.SortFunc(rules, func(a, b hwabstraction.Rule) int { return compareIDs(a.ID(), b.ID()) })
	var changes []hwabstraction.Change
	for _, r := range rules {
		changes = append(changes, hwabstraction.Remove(r.ID(), r.Stamped()))
	}
	return changes
}

func compareIDs(a, b hwabstraction.RuleID) int {
	return cmp.Or(
		cmp.Compare(a.Kind, b.Kind), a.Prefix.Addr().Compare(b.Prefix.Addr()),
		cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()), cmp.Compare(a.Port, b.Port),
		cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.DstPort, b.DstPort),
	)
}
