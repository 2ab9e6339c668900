package topology

import (
	"fmt"
	"net/netip"
)

// Serve does an agent's work for one VM at one hypervisor, by hand: the
// gateway on the VM's port, the VM as a known neighbour, and unreachable routes
// for the hypervisor's own prefixes. It does not route to the VM: see Deliver.
func (l *Lab) Serve(vm, hv string) error {
	v, ok := l.Plan.VM(vm)
	h, ok2 := l.Plan.Hypervisor(hv)
	if !ok || !ok2 {
		return fmt.Errorf("topology: no VM %q or no hypervisor %q", vm, hv)
	}
	n := l.Node(hv)
	port, err := n.NS.Link(vm)
	if err != nil {
		return err
	}
	if err := n.NS.Netlink().LinkSetHardwareAddr(port, GatewayMAC); err != nil {
		return fmt.Errorf("topology: %s: gateway MAC on %s: %w", hv, vm, err)
	}
	if err := n.NS.AddAddr(vm, netip.PrefixFrom(Gateway6, 64), host(Gateway4)); err != nil {
		return err
	}
	for _, a := range v.Addr.Both() {
		if err := n.NS.SetNeighbour(vm, a, v.MAC); err != nil {
			return err
		}
	}
	for _, p := range append(h.Range.Both(), h.Pool.Both()...) {
		if err := n.AddRoute(Route{Dst: p, Unreachable: true}); err != nil {
			return err
		}
	}
	return nil
}

// Deliver routes the VM's addresses to its port at the hypervisor.
func (l *Lab) Deliver(vm, hv string) error {
	return l.eachAddr(vm, func(a netip.Addr) error {
		return l.Node(hv).AddRoute(Route{Dst: host(a), Dev: vm})
	})
}

// Steer gives a node host routes for the VM's addresses towards the next node,
// which must be on one of its links.
func (l *Lab) Steer(vm, node, next string) error {
	via, err := l.Plan.nextHop(node, next)
	if err != nil {
		return err
	}
	return l.eachAddr(vm, func(a netip.Addr) error {
		gw := via.V6
		if a.Is4() {
			gw = via.V4
		}
		return l.Node(node).AddRoute(Route{Dst: host(a), Via: gw})
	})
}

// RunResidents serves and connects every VM at its home.
func (l *Lab) RunResidents() error {
	for _, v := range l.Plan.VMs {
		if err := l.Serve(v.Name, v.Home); err != nil {
			return err
		}
		if err := l.Deliver(v.Name, v.Home); err != nil {
			return err
		}
		if err := l.Switch.Connect(v.Name, v.Home); err != nil {
			return err
		}
	}
	return nil
}

func (l *Lab) eachAddr(vm string, f func(netip.Addr) error) error {
	v, ok := l.Plan.VM(vm)
	if !ok {
		return fmt.Errorf("topology: no VM %q", vm)
	}
	for _, a := range v.Addr.Both() {
		if err := f(a); err != nil {
			return err
		}
	}
	return nil
}

// nextHop is the on-link address of next as seen from node.
func (p *Plan) nextHop(node, next string) (Dual, error) {
	for _, l := range p.Links {
		switch {
		case l.A.Node == node && l.B.Node == next:
			return Dual{l.B.Addr.V6.Addr(), l.B.Addr.V4.Addr()}, nil
		case l.B.Node == node && l.A.Node == next:
			return Dual{l.A.Addr.V6.Addr(), l.A.Addr.V4.Addr()}, nil
		}
	}
	return Dual{}, fmt.Errorf("topology: no link between %s and %s", node, next)
}
