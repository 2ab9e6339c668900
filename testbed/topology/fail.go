package topology

import (
	"errors"
	"fmt"
)

// Unplug takes the port of a node down: the other end loses its carrier, the
// node the routes that leave by the port.
func (l *Lab) Unplug(node, port string) error {
	// Its IPv6 addresses stay: a router that comes back has them before others
	// can see it.
	if err := l.Node(node).NS.Sysctl("net/ipv6/conf/"+port+"/keep_addr_on_down", "1"); err != nil {
		return err
	}
	return l.Node(node).NS.SetDown(port)
}

// Plug puts an unplugged port of a node up again, with its addresses and the
// node's static routes.
func (l *Lab) Plug(node, port string) error {
	own, _ := l.Plan.LinksOf(node)
	for _, e := range own {
		if e.Name != port {
			continue
		}
		if err := l.Node(node).NS.SetUp(port); err != nil {
			return err
		}
		if err := l.Node(node).NS.AddAddr(port, e.Addr.Both()...); err != nil {
			return err
		}
		return l.restore(node, port)
	}
	return fmt.Errorf("topology: %s has no port %s", node, port)
}

// restore puts the static routes of a node that leave by a port back.
func (l *Lab) restore(node, port string) error {
	own, other := l.Plan.LinksOf(node)
	for _, r := range l.Plan.Routes[node] {
		for i, e := range own {
			a := other[i].Addr
			if e.Name != port || r.Via != a.V6.Addr() && r.Via != a.V4.Addr() {
				continue
			}
			if err := l.Node(node).AddRoute(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// UnplugAll takes every fabric port of a node down, the last thing that others
// see of a node that has lost its power.
func (l *Lab) UnplugAll(node string) error { return l.eachPort(node, l.Unplug) }

// PlugAll is Plug for every fabric port.
func (l *Lab) PlugAll(node string) error { return l.eachPort(node, l.Plug) }

func (l *Lab) eachPort(node string, f func(node, port string) error) error {
	own, _ := l.Plan.LinksOf(node)
	var errs []error
	for _, e := range own {
		errs = append(errs, f(node, e.Name))
	}
	return errors.Join(errs...)
}
