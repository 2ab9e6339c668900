package topology

import (
	"fmt"
	"net/netip"
	"slices"
)

// Nodes of the two data centres beyond those of the standard one.
const (
	Spine1   = "spine1"
	Spine2   = "spine2"
	ToRC     = "torC"
	ToRD     = "torD"
	HVD      = "hvD"
	Border1  = "border1"
	Border2  = "border2"
	Provider = "provider"
	Third    = "third"
)

// Sites of the two data centres.
const (
	Site1 = "dc1"
	Site2 = "dc2"
)

// OutPort is a border router's, and the third site's, link to the provider;
// InterSite the link's end at each spine.
const (
	OutPort   = "out0"
	InterSite = "dci0"
)

// NATed is the VM with a private address, behind its site's NAT box.
const NATed = "vm4"

// NAT is what the NAT boxes of the sites hide.
var NAT = netip.MustParsePrefix("172.16.0.0/12")

// InterDC is two data centres of one operator, dc1 and dc2, an inter-site link
// between their spines, a provider outside with the correspondent node behind
// it, and a third site that has nothing to do with the operator:
//
//	      cn --- provider --- third
//	            /        \
//	      border1        border2
//	         |               |
//	mgmt - spine1 --------- spine2
//	       /    \           /    \
//	     torA  torB      torC   torD
//	      |     |          |      |
//	     hvA   hvB        hvC    hvD
//
// Hypervisors, locators and prefixes are numbered as in the standard plan. vm1
// starts at hvA and moves; vm2 stays at hvB, vm3 at hvD; vm4, at hvA, has a
// private IPv4 address. What routers learn of each other is up to the routing
// programs: static are only the aggregates below each ToR and the ways out.
func InterDC() Plan {
	p := Plan{
		Mgmt: dual("2001:db8:ff::1", "10.255.0.1"), CN: dual("2001:db8:cafe::10", "192.0.2.10"),
		Transit: []string{Provider, Third},
	}
	for _, r := range []struct {
		name, role, site string
		word             string // of the IPv6 locator
		octet, distance  int
		up               []string
	}{
		{ToRA, "tor", Site1, "a", 10, 1, []string{Spine1}}, {ToRB, "tor", Site1, "b", 11, 1, []string{Spine1}},
		{ToRC, "tor", Site2, "c", 12, 1, []string{Spine2}}, {ToRD, "tor", Site2, "d", 13, 1, []string{Spine2}},
		{Spine1, "spine", Site1, "e1", 21, 2, []string{Border1, Spine2}}, {Spine2, "spine", Site2, "e2", 22, 2, []string{Border2}},
		{Border1, "border", Site1, "b1", 31, 3, nil}, {Border2, "border", Site2, "b2", 32, 3, nil},
	} {
		p.Routers = append(p.Routers, Router{Name: r.name, Role: r.role, Site: r.site, Distance: r.distance, Uplinks: r.up,
			Locator: dual(fmt.Sprintf("2001:db8:0:%s::1", r.word), fmt.Sprintf("10.0.%d.1", r.octet))})
	}
	p.interDCLinks()
	for i, h := range []struct{ name, letter, tor, site string }{{HVA, "a", ToRA, Site1}, {HVB, "b", ToRB, Site1}, {HVC, "c", ToRC, Site2}, {HVD, "d", ToRD, Site2}} {
		p.addHypervisor(h.name, h.letter, h.tor, i+1)
		x := &p.Hypervisors[i]
		x.Site, x.Private = h.site, netip.MustParsePrefix(fmt.Sprintf("172.16.%d.0/24", i+1))
	}
	for i, home := range []string{HVA, HVB, HVD, HVA} {
		p.addVM(i+1, home)
	}
	p.VMs[3].Addr.V4 = netip.MustParseAddr("172.16.1.40")
	p.Routes = p.interDCRoutes()
	return p
}

func (p *Plan) interDCLinks() {
	fabric := []struct{ a, b, aName, bName string }{
		{Spine1, ToRA, ToRA, "up0"}, {Spine1, ToRB, ToRB, "up0"}, {Spine1, Border1, Border1, "in0"},
		{Spine2, ToRC, ToRC, "up0"}, {Spine2, ToRD, ToRD, "up0"}, {Spine2, Border2, Border2, "in0"},
		{Spine1, Spine2, InterSite, InterSite},
	}
	for i, l := range fabric {
		at := func(host int) (string, string) {
			return fmt.Sprintf("2001:db8:1:%x::%d/64", i+1, host), fmt.Sprintf("10.100.%d.%d/24", i+1, host)
		}
		a6, a4 := at(1)
		b6, b4 := at(2)
		p.Links = append(p.Links, Link{end(l.a, l.aName, a6, a4), end(l.b, l.bName, b6, b4)})
	}
	p.Links = append(p.Links,
		Link{end(Spine1, Mgmt, "2001:db8:ff::fe/64", "10.255.0.254/24"), end(Mgmt, FabricPort, "2001:db8:ff::1/64", "10.255.0.1/24")},
		Link{end(Provider, Border1, "2001:db8:fe:1::1/64", "198.51.100.1/30"), end(Border1, OutPort, "2001:db8:fe:1::2/64", "198.51.100.2/30")},
		Link{end(Provider, Border2, "2001:db8:fe:2::1/64", "198.51.100.5/30"), end(Border2, OutPort, "2001:db8:fe:2::2/64", "198.51.100.6/30")},
		Link{end(Provider, Third, "2001:db8:fe:3::1/64", "198.51.100.9/30"), end(Third, OutPort, "2001:db8:fe:3::2/64", "198.51.100.10/30")},
		Link{end(Provider, CN, "2001:db8:cafe::fe/64", "192.0.2.254/24"), end(CN, FabricPort, "2001:db8:cafe::10/64", "192.0.2.10/24")})
}

// interDCRoutes are the aggregates below each ToR, and the ways up of hosts, out
// of borders and of the third site.
func (p *Plan) interDCRoutes() map[string][]Route {
	routes := map[string][]Route{}
	via := func(node, next string, dst ...netip.Prefix) {
		hop, err := p.nextHop(node, next)
		if err != nil {
			panic(err) // a plan without its own link
		}
		for _, d := range dst {
			r := Route{Dst: d, Via: hop.V6}
			if d.Addr().Is4() {
				r.Via = hop.V4
			}
			routes[node] = append(routes[node], r)
		}
	}
	for i := range p.Hypervisors {
		h := &p.Hypervisors[i]
		via(h.Router, h.Name, h.Aggregates()...)
		via(h.Name, h.Router, any6, any4)
	}
	via(Mgmt, Spine1, any6, any4)
	for _, node := range []string{Border1, Border2, Third, CN} {
		via(node, Provider, any6, any4)
	}
	return routes
}

// Aggregates lists what the fabric routes to the hypervisor.
func (h *Hypervisor) Aggregates() []netip.Prefix {
	if h.Private.IsValid() {
		return append(h.Aggregate.Both(), h.Private)
	}
	return h.Aggregate.Both()
}

// LinksOf lists a node's ends of links and what is at the other one.
func (p *Plan) LinksOf(node string) (own, other []LinkEnd) {
	for _, l := range p.Links {
		switch node {
		case l.A.Node:
			own, other = append(own, l.A), append(other, l.B)
		case l.B.Node:
			own, other = append(own, l.B), append(other, l.A)
		}
	}
	return own, other
}

// Router finds a router by name.
func (p *Plan) Router(name string) (Router, bool) {
	i := slices.IndexFunc(p.Routers, func(r Router) bool { return r.Name == name })
	if i < 0 {
		return Router{}, false
	}
	return p.Routers[i], true
}
