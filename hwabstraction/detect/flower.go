package detect

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/flower"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/tc"
)

// triedActions are what a filter is put with to find out about each action.
// mirred alone ends a filter and needs nothing else, so the classifier is tried
// with it, and with gact where there is no mirred.
var triedActions = []struct {
	feature string
	actions []flower.Action
}{
	{ActMirred, []flower.Action{flower.Redirect{Port: 1}}},
	{ActGact, []flower.Action{flower.Goto{Chain: 2}}},
	{ActCt, []flower.Action{flower.Conntrack{Zone: 1}, flower.Redirect{Port: 1}}},
	{ActPedit, []flower.Action{flower.Rewrite{Destination: netip.MustParseAddr("2001:db8::1")}, flower.Redirect{Port: 1}}},
	{ActCsum, []flower.Action{flower.Checksum(flower.ChecksumTCP), flower.Redirect{Port: 1}}},
}

// probeFlower puts filters on the loopback of the thread's namespace, which has
// a clsact already, and takes them away again.
func probeFlower(out map[string]Finding) {
	conn, err := tc.Dial(0)
	if err != nil {
		out[Flower] = answer(err)
		for _, t := range triedActions {
			out[t.feature] = out[Flower]
		}
		return
	}
	defer conn.Close()
	for i, t := range triedActions {
		err := tryFilter(conn, uint16(i+1), t.feature, t.actions)
		if out[t.feature] = answer(err); err == nil {
			out[Flower] = Finding{hwabstraction.Yes, ""}
		}
	}
	if out[Flower].Answer == hwabstraction.Yes {
		return
	}
	out[Flower] = out[ActMirred]
	for _, t := range triedActions {
		out[t.feature] = Finding{hwabstraction.Unknown, "without flower it cannot be tried"}
	}
}

// tryFilter puts one filter of the kernel only and removes it.
func tryFilter(conn *tc.Conn, priority uint16, feature string, actions []flower.Action) error {
	f := flower.Filter{Port: 1, Chain: 1, Priority: priority, Handle: 1, SkipHW: true, Actions: actions}
	err := errors.Join(conn.Apply(context.Background(), []tc.Request{{Op: tc.Put, Filter: f}, {Op: tc.Delete, Filter: f}})...)
	var refused *tc.Error
	if errors.As(err, &refused) {
		err = refused.Errno
	}
	if err != nil {
		return fmt.Errorf("flower with %s: %w", feature, err)
	}
	return nil
}
