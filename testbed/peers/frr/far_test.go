package frr_test

import (
	"net/netip"

	"github.com/vishvananda/netlink"

	"github.com/dpmip/dpmip/testbed/netns"
)

// inFar adds or deletes host routes in the far router's kernel, towards itself
// as far as anybody can tell.
func (b *border) inFar(verb string, prefixes []string) {
	b.t.Helper()
	nl := b.Far.Netlink()
	lo, err := b.Far.Index("f0")
	b.must(err)
	for _, s := range prefixes {
		r := &netlink.Route{Dst: netns.IPNet(netip.MustParsePrefix(s)), LinkIndex: lo, Protocol: 201, Priority: 20}
		if verb == "del" {
			b.must(nl.RouteDel(r))
			continue
		}
		b.must(nl.RouteAdd(r))
	}
}
