package frr_test

import (
	"net/netip"
	"strings"
	"testing"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/testbed/peers/rig"
)

// TestBorderWaitsForItsAddress: an address of bgp.listen comes late. The router
// runs, takes host routes and says what it waits for; then it goes on by itself.
func TestBorderWaitsForItsAddress(t *testing.T) {
	t.Parallel()
	const late = "2001:db8:f::77"
	b := openBorder(t, "", strings.Replace(borderRoles, `["2001:db8:f::1"]`, `["2001:db8:f::1", "`+late+`"]`, 1), farBorder)
	b.until("waiting", func(s *v1.Session) bool {
		return s.State == "waiting" && strings.Contains(s.Problem, late+": not an address of this node")
	})
	b.complains("BGP session dc2", "failed", "give this node the address")
	a := rig.VM6(0)
	b.set(2, hour, a)
	if _, err := b.own.Await(b.ctx, a, true); err != nil {
		t.Fatal(err)
	}
	b.must(b.TOR.AddAddr("f0", netip.MustParsePrefix(late+"/64")))
	b.established()
	b.await(true, a)
	if s := b.session(); s.Problem != "" {
		t.Errorf("established, and a problem: %s", s.Problem)
	}
}
