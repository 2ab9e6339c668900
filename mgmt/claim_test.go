package mgmt

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
)

// TestClaim: a hypervisor that claims the address of a VM elsewhere raises an
// alarm that names both; the first owner keeps it.
func TestClaim(t *testing.T) {
	t.Parallel()
	w := moved(t)
	const address = "2001:db8:a:1::1"
	counted, noted := 0, ""
	for _, e := range w.ask("c", registration.Request{VM: mobility.NAI("vm9"), Handoff: mobility.HandoffNew, Lifetime: 15, Slots: []netip.Addr{netip.MustParseAddr(address)}}) {
		switch e := e.(type) {
		case Count:
			if e == (Count{"claims", "c"}) {
				counted++
			}
		case Note:
			if e.Warning {
				noted = e.Text
			}
		}
	}
	if want := address + " belongs to vm vm1 at b, which keeps it; c claims it for another VM"; counted != 1 || !strings.Contains(noted, want) {
		t.Errorf("counted %d claims and noted %q, want 1 and %q", counted, noted, want)
	}
	if b := w.core.Binding(vm1); b.Hypervisor != "b" || len(b.Slots) != 1 || b.Slots[0].String() != address {
		t.Errorf("after the claim the binding is %+v", b)
	}
}
