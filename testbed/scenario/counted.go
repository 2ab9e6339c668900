package scenario

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"connectrpc.com/connect"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
)

// counts is what the redirect of a move has counted at its source.
type counts struct{ packets, bytes, baseP, baseB uint64 }

// redirected reads the source's counters of the redirect.
func (r *run) redirected(ctx context.Context, m *move) (c counts, err error) {
	res, err := r.dc.Agent(m.from).ListRules(ctx, connect.NewRequest(&v1.ListRulesRequest{Kind: "redirect"}))
	if err != nil {
		return c, fmt.Errorf("scenario: rules of %s: %w", m.from, err)
	}
	for _, x := range res.Msg.Rules {
		a, err := netip.ParseAddr(x.Address)
		if err == nil && slices.Contains(m.live, a) {
			c.baseP += x.Packets
			c.baseB += x.Bytes
		}
	}
	return c, nil
}

// countRedirect takes what has been redirected since the move was ready. A
// redirect that has drained meanwhile takes its counters with it: what was read
// before stays.
func (r *run) countRedirect(ctx context.Context, m *move) error {
	now, err := r.redirected(ctx, m)
	if err != nil {
		return err
	}
	if now.baseP >= m.counted.baseP {
		m.counted.packets = max(m.counted.packets, now.baseP-m.counted.baseP)
		m.counted.bytes = max(m.counted.bytes, now.baseB-min(now.baseB, m.counted.baseB))
	}
	return nil
}
