package bench

import (
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"

	"github.com/dpmip/dpmip/testbed/netns"
)

// join joins two namespaces by a bare veth pair, both ends up. Unlike
// netns.Veth it has no pace: what is measured is the forwarding, not a card.
func join(a *netns.NS, aName string, b *netns.NS, bName string) error {
	fd, err := os.Open(b.Path())
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	defer fd.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = aName
	if err := a.Netlink().LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: bName, PeerNamespace: netlink.NsFd(fd.Fd())}); err != nil {
		return fmt.Errorf("bench: veth %s - %s: %w", a.Name(), b.Name(), err)
	}
	return errors.Join(a.SetUp(aName), b.SetUp(bName))
}

// quietSysctls keep the kernel from sending anything by itself.
var quietSysctls = []string{
	"net.ipv6.conf.default.accept_ra=0", "net.ipv6.conf.all.accept_ra=0",
	"net.ipv6.conf.default.accept_dad=0", "net.ipv6.conf.all.accept_dad=0",
	"net.ipv6.conf.default.dad_transmits=0", "net.ipv6.conf.default.router_solicitations=0",
	"net.ipv4.conf.default.rp_filter=0", "net.ipv4.conf.all.rp_filter=0",
}

var forwardSysctls = []string{"net.ipv6.conf.all.forwarding=1", "net.ipv6.conf.default.forwarding=1", "net.ipv4.ip_forward=1"}

// space makes a namespace without noise.
func space(set *netns.Set, name string, forwards bool) (*netns.NS, error) {
	ns, err := set.Create(name)
	if err != nil {
		return nil, err
	}
	settings := quietSysctls
	if forwards {
		settings = append(settings[:len(settings):len(settings)], forwardSysctls...)
	}
	return ns, ns.Sysctls(settings...)
}
