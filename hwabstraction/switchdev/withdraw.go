package switchdev

import (
	"context"
	"errors"
	"fmt"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/tc"
)

// Withdraw removes every filter of a fast path from ports, and says how many
// there were: for a host that goes on without one. The filters that lead into
// chains go first, so that no packet meets half of a chain. What is another's
// stays; a port that is gone has none.
func Withdraw(ctx context.Context, table Table, ports []int32) (removed int, err error) {
	for _, port := range ports {
		found, e := table.List(ctx, port)
		if e != nil {
			if !errors.Is(e, hwabstraction.ErrPortGone) {
				err = errors.Join(err, e)
			}
			continue
		}
		var entries, others []tc.Request
		for _, s := range found {
			switch r := (tc.Request{Op: tc.Delete, Filter: s.Filter}); {
			case s.Kind != "flower" || !ours(s.Cookie):
			case s.Chain == entryChain:
				entries = append(entries, r)
			default:
				others = append(others, r)
			}
		}
		for _, e := range table.Apply(ctx, append(entries, others...)) {
			if e == nil {
				removed++
			}
			err = errors.Join(err, e)
		}
	}
	if err != nil {
		err = fmt.Errorf("switchdev: withdraw: %w", err)
	}
	return removed, err
}
