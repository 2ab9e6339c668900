package topology

import (
	"fmt"
	"net/netip"

	"github.com/dpmip/dpmip/testbed/traffic"
)

// Endpoint is a place for traffic at a node, on its address of the family (6 or
// 4): a VM's address, a locator, or that of mgmt or cn. A VM's endpoint stops
// while the VM is paused. It panics on a node that has no address.
func (l *Lab) Endpoint(node string, family int, port uint16) traffic.Endpoint {
	a := l.Plan.address(node).Family(family)
	return traffic.Endpoint{NS: l.Node(node).NS, Addr: netip.AddrPortFrom(a, port), Gate: l.Gate(node)}
}

func (p *Plan) address(node string) Dual {
	if v, ok := p.VM(node); ok {
		return v.Addr
	}
	if h, ok := p.Hypervisor(node); ok {
		return h.Locator
	}
	for _, r := range p.Routers {
		if r.Name == node {
			return r.Locator
		}
	}
	switch node {
	case Mgmt:
		return p.Mgmt
	case CN:
		return p.CN
	}
	panic(fmt.Sprintf("topology: node %q has no address", node))
}
