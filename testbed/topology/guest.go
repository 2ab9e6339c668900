package topology

import (
	"fmt"
	"math"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/testbed/clock"
	"github.com/dpmip/dpmip/testbed/netns"
)

// Renumber gives a VM new addresses beside its old ones and makes it prefer
// them: old addresses are deprecated (RFC 4862 section 5.5.4), so that existing
// connections keep them and new ones do not use them. It stands in for router
// advertisements and DHCP. Addresses that are in both lists stay preferred.
func (l *Lab) Renumber(vm string, fresh, old []netip.Addr) error {
	n := l.Node(vm)
	link, err := n.NS.Link(GuestPort)
	if err != nil {
		return err
	}
	for _, a := range old {
		if err := setAddr(n, link, a, 0); err != nil {
			return err
		}
	}
	for _, a := range fresh {
		if err := setAddr(n, link, a, math.MaxUint32); err != nil {
			return err
		}
		if a.Is4() {
			// IPv4 source selection ignores deprecation: the route decides.
			if err := n.AddRoute(Route{Dst: any4, Via: Gateway4, Dev: GuestPort, Src: a}); err != nil {
				return err
			}
		}
	}
	return nil
}

// Forget removes addresses from a VM, after their drain.
func (l *Lab) Forget(vm string, old []netip.Addr) error {
	for _, a := range old {
		if err := l.Node(vm).NS.DelAddr(GuestPort, host(a)); err != nil {
			return err
		}
	}
	return nil
}

// setAddr puts an address on a link, for ever valid, preferred for so many
// seconds (MaxUint32 = for ever).
func setAddr(n *Node, link netlink.Link, a netip.Addr, preferred int) error {
	addr := &netlink.Addr{IPNet: netns.IPNet(host(a)), ValidLft: math.MaxUint32, PreferedLft: preferred}
	if a.Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	if err := n.NS.Netlink().AddrReplace(link, addr); err != nil {
		return fmt.Errorf("topology: %s: address %s: %w", n.Name, a, err)
	}
	return awaitLocal(n, a)
}

// awaitLocal waits until the node takes packets to an address of its own. The
// kernel accepts an IPv6 address at once, lets sockets use it at once, and makes
// the local route from a work queue.
func awaitLocal(n *Node, a netip.Addr) error {
	if a.Is4() {
		return nil
	}
	local := &netlink.Route{Table: unix.RT_TABLE_LOCAL, Dst: netns.IPNet(host(a))}
	for deadline := clock.Now() + 5*time.Second; ; clock.SleepUntil(clock.Now() + 200*time.Microsecond) {
		found, err := n.NS.Netlink().RouteListFiltered(netlink.FAMILY_V6, local, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_DST)
		if err != nil {
			return fmt.Errorf("topology: %s: local route of %s: %w", n.Name, a, err)
		}
		if len(found) > 0 {
			return nil
		}
		if clock.Now() > deadline {
			return fmt.Errorf("topology: %s: address %s has no local route", n.Name, a)
		}
	}
}
