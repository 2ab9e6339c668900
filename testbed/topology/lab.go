package topology

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/dpmip/dpmip/testbed/guest"
	"github.com/dpmip/dpmip/testbed/netns"
	"github.com/dpmip/dpmip/testbed/selector"
)

// Options say where and what to build. The zero value builds the standard plan
// below netns.DefaultBase.
type Options struct {
	Base   string // parent of the run directory
	Prefix string // of the run directory's name; empty = "lab"
	Plan   *Plan  // nil = Standard()
}

// Node is one namespace of the lab with its place for files.
type Node struct {
	Name string
	NS   *netns.NS
	Dir  string // state, sockets, logs; removed on Close
}

// Lab is a data centre that is up.
type Lab struct {
	Plan   Plan
	Set    *netns.Set
	Switch *selector.Switch

	nodes map[string]*Node
	gates map[string]*guest.Gate
}

// Up builds the lab: namespaces, links, addresses, sysctls, static routes, the
// switch. Every VM is paused and nowhere; see Lab.Switch. On an error
// everything is taken down again.
func Up(o Options) (*Lab, error) {
	if o.Prefix == "" {
		o.Prefix = "lab"
	}
	plan := Standard()
	if o.Plan != nil {
		plan = *o.Plan
	}
	set, err := netns.Open(o.Base, o.Prefix)
	if err != nil {
		return nil, err
	}
	l := &Lab{Plan: plan, Set: set, nodes: map[string]*Node{}, gates: map[string]*guest.Gate{}}
	for _, stage := range []func() error{l.makeNodes, l.makeFabric, l.makeGuests, l.makeRoutes} {
		if err := stage(); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	return l, nil
}

// Close takes everything down: processes, namespaces, links, mounts, files.
func (l *Lab) Close() error {
	var err error
	if l.Switch != nil {
		err = l.Switch.Close()
	}
	return errors.Join(err, l.Set.Close())
}

// Node finds a node by name; it panics on a name that is not in the plan.
func (l *Lab) Node(name string) *Node {
	n := l.nodes[name]
	if n == nil {
		panic(fmt.Sprintf("topology: no node %q", name))
	}
	return n
}

// Gate is what stops a VM's processes while it is paused; nil for a node that
// is no VM.
func (l *Lab) Gate(node string) *guest.Gate { return l.gates[node] }

// MountBPF gives the node a bpffs of its own, at the returned path.
func (l *Lab) MountBPF(node string) (string, error) {
	return l.Set.MountBPF(filepath.Join(node, "bpf"))
}

// Neighbour discovery is as fast as on a real fabric link: no duplicate address
// detection, no router solicitations. Set before any link exists.
var (
	everywhere = []string{
		"net.ipv6.conf.default.accept_ra=0", "net.ipv6.conf.all.accept_ra=0",
		"net.ipv6.conf.default.accept_dad=0", "net.ipv6.conf.all.accept_dad=0",
		"net.ipv6.conf.default.dad_transmits=0", "net.ipv6.conf.default.router_solicitations=0",
		"net.ipv4.conf.default.rp_filter=0", "net.ipv4.conf.all.rp_filter=0",
	}
	forwarding = []string{
		"net.ipv6.conf.all.forwarding=1", "net.ipv6.conf.default.forwarding=1", "net.ipv4.ip_forward=1",
		"net.ipv4.conf.all.send_redirects=0", "net.ipv4.conf.default.send_redirects=0",
	}
)

func (l *Lab) makeNodes() error {
	names := []string{CN, Mgmt, Switch}
	forwards := map[string]bool{}
	for _, r := range l.Plan.Routers {
		names, forwards[r.Name] = append(names, r.Name), true
	}
	for _, name := range l.Plan.Transit {
		names, forwards[name] = append(names, name), true
	}
	for _, h := range l.Plan.Hypervisors {
		names, forwards[h.Name] = append(names, h.Name), true
	}
	for _, v := range l.Plan.VMs {
		names = append(names, v.Name)
		l.gates[v.Name] = &guest.Gate{}
	}
	for _, name := range names {
		if err := l.makeNode(name, forwards[name]); err != nil {
			return err
		}
	}
	var err error
	l.Switch, err = selector.New(l.Node(Switch).NS)
	return err
}

func (l *Lab) makeNode(name string, forwards bool) error {
	ns, err := l.Set.Create(name)
	if err != nil {
		return err
	}
	n := &Node{Name: name, NS: ns, Dir: filepath.Join(l.Set.Dir(), name)}
	if err := os.Mkdir(n.Dir, 0o755); err != nil {
		return fmt.Errorf("topology: %w", err)
	}
	l.nodes[name] = n
	settings := everywhere
	if forwards {
		settings = append(settings[:len(settings):len(settings)], forwarding...)
	}
	return ns.Sysctls(settings...)
}

func (l *Lab) makeFabric() error {
	for _, k := range l.Plan.Links {
		a, b := l.Node(k.A.Node).NS, l.Node(k.B.Node).NS
		if err := netns.Veth(netns.End{NS: a, Name: k.A.Name}, netns.End{NS: b, Name: k.B.Name}, 0); err != nil {
			return err
		}
		if err := a.AddAddr(k.A.Name, k.A.Addr.Both()...); err != nil {
			return err
		}
		if err := b.AddAddr(k.B.Name, k.B.Addr.Both()...); err != nil {
			return err
		}
	}
	for _, r := range l.Plan.Routers {
		if err := l.Node(r.Name).NS.AddAddr("lo", host(r.Locator.V6), host(r.Locator.V4)); err != nil {
			return err
		}
	}
	return nil
}

func (l *Lab) makeGuests() error {
	for _, h := range l.Plan.Hypervisors {
		// The only link-local address of a VM port is the gateway's.
		if err := l.Node(h.Name).NS.Sysctl("net.ipv6.conf.default.addr_gen_mode", "1"); err != nil {
			return err
		}
	}
	for _, v := range l.Plan.VMs {
		if err := l.makeGuest(v); err != nil {
			return err
		}
		for _, h := range l.Plan.Hypervisors {
			port := netns.End{NS: l.Node(h.Name).NS, Name: v.Name}
			if err := l.Switch.AddPort(v.Name, h.Name, port); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *Lab) makeGuest(v VM) error {
	n := l.Node(v.Name)
	end := netns.End{NS: n.NS, Name: GuestPort, MAC: net.HardwareAddr(v.MAC)}
	if err := l.Switch.AddVM(v.Name, end, l.gates[v.Name]); err != nil {
		return err
	}
	if err := n.NS.AddAddr(GuestPort, host(v.Addr.V6), host(v.Addr.V4)); err != nil {
		return err
	}
	for dst, via := range map[netip.Prefix]netip.Addr{any6: Gateway6, any4: Gateway4} {
		if err := n.AddRoute(Route{Dst: dst, Via: via, Dev: GuestPort}); err != nil {
			return err
		}
	}
	return nil
}

func (l *Lab) makeRoutes() error {
	all := l.Plan.Routes
	if all == nil {
		all = l.Plan.staticRoutes()
	}
	for node, routes := range all {
		for _, r := range routes {
			if err := l.Node(node).AddRoute(r); err != nil {
				return err
			}
		}
	}
	return nil
}
