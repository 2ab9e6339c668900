package registration

import (
	"net/netip"
	"testing"
	"time"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/wire"
)

// TestPassed: after a restart nothing is accepted that is as old as what was
// accepted before it, of any VM, and the refusal says what must be passed. A mark
// outside the window counts for nothing.
func TestPassed(t *testing.T) {
	t.Parallel()
	now := start.Add(time.Hour)
	for _, tc := range []struct {
		name        string
		mark, stamp time.Duration // against now
		want        string
	}{
		{"as old", -time.Second, -time.Second, "157"},
		{"older", -time.Second, -1500 * time.Millisecond, "157"},
		{"newer", -time.Second, -999 * time.Millisecond, "asked"},
		{"a mark of long ago", -3 * time.Second, -1900 * time.Millisecond, "asked"},
		{"a clock that was put back", time.Hour, 0, "asked"},
	} {
		n, err := NewNode(Config{Role: RoleRouter, Self: addrA, Management: []netip.Addr{addrM}, Seed: 1})
		if err != nil {
			t.Fatal(err)
		}
		n.Passed(addrM, now.Add(tc.mark))
		r := raw{sequence: 1, flags: wire.RequestAck | wire.RequestProxy, vm: mobility.NAI("other"), stamp: now.Add(tc.stamp), auth: AuthOK,
			addrs: []wire.VMAddress{wire.HostAddress(old1), wire.HostAddress(old1)}, epoch: 2}
		if got, counts := r.give(t, n, now); got != tc.want {
			t.Errorf("%s: %s (%v), want %s", tc.name, got, counts, tc.want)
		}
	}
}
