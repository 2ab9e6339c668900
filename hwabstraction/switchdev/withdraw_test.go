package switchdev

import (
	"context"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dpmip/dpmip/hwabstraction/switchdev/flower"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/tc"
)

// TestWithdraw leaves what others have put, and asks for entries first.
func TestWithdraw(t *testing.T) {
	t.Parallel()
	table := newTable(&diary{}, 1, 2)
	put := func(port int32, chain uint32, priority uint16, cookie []byte) {
		f := flower.Filter{Port: port, Chain: chain, Priority: priority, Handle: 1, Actions: slow(), Cookie: cookie}
		if err := table.Attach(port); err != nil {
			t.Fatal(err)
		}
		if err := table.Apply(t.Context(), []tc.Request{{Op: tc.Put, Filter: f}})[0]; err != nil {
			t.Fatal(err)
		}
	}
	put(1, firstChain, rulePriority, cookie(nil))
	put(1, entryChain, entryPriority, cookie(nil))
	put(1, entryChain, 77, []byte("somebody else's!"))
	put(2, egressChain, rulePriority, cookie(nil))
	asked := &asks{Table: table}
	n, err := Withdraw(t.Context(), asked, []int32{1, 9, 2}) // 9 is gone
	if n != 3 || err != nil {
		t.Errorf("%d filters removed, %v; want 3", n, err)
	}
	if diff := cmp.Diff([]uint32{entryChain, firstChain, egressChain}, asked.chains); diff != "" {
		t.Errorf("chains in order (-want +got):\n%s", diff)
	}
	left, err := table.List(t.Context(), 1)
	if len(left) != 1 || left[0].Priority != 77 || err != nil {
		t.Errorf("left: %+v, %v", left, err)
	}
	if n, err := Withdraw(t.Context(), table, []int32{1, 2}); n != 0 || err != nil {
		t.Errorf("again: %d, %v", n, err)
	}
}

// asks notes the chains of what is asked for.
type asks struct {
	Table
	chains []uint32
}

func (a *asks) Apply(ctx context.Context, requests []tc.Request) []error {
	for _, r := range requests {
		a.chains = append(a.chains, r.Filter.Chain)
	}
	return a.Table.Apply(ctx, slices.Clone(requests))
}
