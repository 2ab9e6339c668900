package mgmt

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/dpmip/dpmip/mgmt/inventory"
	"github.com/dpmip/dpmip/mobility"
)

// What a destination lacks is told when the move is asked for: later it would
// be tried for ever.
func TestDestinationMustHoldTheFamilies(t *testing.T) {
	t.Parallel()
	six, four := netip.MustParseAddr("2001:db8:b::1"), netip.MustParseAddr("192.0.2.2")
	pool6, pool4 := netip.MustParsePrefix("2001:db8:b:d::/64"), netip.MustParsePrefix("198.51.100.192/26")
	vm6, vm4 := netip.MustParseAddr("2001:db8:a:1::1"), netip.MustParseAddr("198.51.100.1")
	translated := mobility.MoveOptions{Mode: mobility.ModeHot, Addresses: mobility.AddressesKeep, Redirect: mobility.RedirectTranslated, New: mobility.PolicyRedirect}
	routed, renumbered := translated, translated
	routed.Redirect, renumbered.Addresses = mobility.RedirectRouted, mobility.AddressesRenumber
	for name, tc := range map[string]struct {
		slot     netip.Addr
		locators []netip.Addr
		pools    []netip.Prefix
		options  mobility.MoveOptions
		status   mobility.Status
		reason   string
	}{
		"IPv6 over an IPv4 underlay":          {vm6, []netip.Addr{four}, []netip.Prefix{pool6}, translated, mobility.StatusAccepted, ""},
		"IPv4 over an IPv6 underlay":          {vm4, []netip.Addr{six}, []netip.Prefix{pool4}, translated, mobility.StatusAccepted, ""},
		"both locators":                       {vm6, []netip.Addr{six, four}, []netip.Prefix{pool6}, routed, mobility.StatusAccepted, ""},
		"IPv6 routed over an IPv4 underlay":   {vm6, []netip.Addr{four}, []netip.Prefix{pool6}, routed, mobility.StatusProhibited, "no IPv6 locator"},
		"IPv4 routed over an IPv6 underlay":   {vm4, []netip.Addr{six}, []netip.Prefix{pool4}, routed, mobility.StatusNoIPv4, "no IPv4 locator"},
		"no IPv4 at all":                      {vm4, []netip.Addr{six}, []netip.Prefix{pool6}, translated, mobility.StatusNoIPv4, "has no IPv4"},
		"no pool":                             {vm6, []netip.Addr{six}, []netip.Prefix{pool4}, translated, mobility.StatusProhibited, "no delivery pool"},
		"renumbered without a range for IPv6": {vm6, []netip.Addr{six}, []netip.Prefix{pool6}, renumbered, mobility.StatusProhibited, "no range"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := &inventory.Hypervisor{Name: "b", Locators: tc.locators, Pools: tc.pools}
			err := mayHold(&Binding{Slots: []netip.Addr{tc.slot}}, h, tc.options)
			if tc.status == mobility.StatusAccepted {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var refused *mobility.StatusError
			if !errors.As(err, &refused) || refused.Status != tc.status || !strings.Contains(refused.Reason, tc.reason) {
				t.Errorf("refused with %v, want %s because of %q", err, tc.status, tc.reason)
			}
		})
	}
}
