package topology

import (
	"fmt"
	"net"
	"net/netip"
)

// Names of the nodes that are always there.
const (
	CN     = "cn"
	Spine  = "spine"
	ToRA   = "torA"
	ToRB   = "torB"
	HVA    = "hvA"
	HVB    = "hvB"
	HVC    = "hvC"
	Mgmt   = "mgmt"
	Switch = "sw"
)

// FabricPort is a hypervisor's (and mgmt's and cn's) link towards the fabric,
// GuestPort the VM's only link.
const (
	FabricPort = "fab0"
	GuestPort  = "eth0"
)

// Gateways of every VM, and their MAC, on every hypervisor alike.
var (
	Gateway6   = netip.MustParseAddr("fe80::1")
	Gateway4   = netip.MustParseAddr("169.254.1.1")
	GatewayMAC = net.HardwareAddr{0x02, 0x00, 0x5e, 0x00, 0x00, 0x01}
)

// Dual is an address of each family.
type Dual struct{ V6, V4 netip.Addr }

// Family picks the address for family 6 or 4.
func (d Dual) Family(f int) netip.Addr {
	if f == 4 {
		return d.V4
	}
	return d.V6
}

// Both lists IPv6, then IPv4.
func (d Dual) Both() []netip.Addr { return []netip.Addr{d.V6, d.V4} }

// DualPrefix is a prefix of each family.
type DualPrefix struct{ V6, V4 netip.Prefix }

// Both lists IPv6, then IPv4.
func (d DualPrefix) Both() []netip.Prefix { return []netip.Prefix{d.V6, d.V4} }

// Hypervisor is one hypervisor of the plan.
type Hypervisor struct {
	Name      string
	Router    string       // its ToR
	Locator   Dual         // its Proxy-CoA
	Aggregate DualPrefix   // what the fabric routes to it
	Range     DualPrefix   // addresses of VMs at home here
	Pool      DualPrefix   // delivery addresses
	Private   netip.Prefix // addresses of VMs behind the site's NAT box; invalid = none
	Site      string       // "" = there is only one
}

// Ranges lists all addresses of VMs at home here.
func (h *Hypervisor) Ranges() []netip.Prefix {
	if h.Private.IsValid() {
		return append(h.Range.Both(), h.Private)
	}
	return h.Range.Both()
}

// VM is one VM of the plan.
type VM struct {
	Name string
	ID   string // VM Identifier as registered, an NAI
	Home string // hypervisor where it starts and whose range it is in
	MAC  net.HardwareAddr
	Addr Dual
}

// Router is one router; Distance counts hops from the hypervisors.
type Router struct {
	Name     string
	Locator  Dual // on its loopback
	Distance int
	Role     string   // tor, spine or border
	Uplinks  []string // neighbours upwards
	Site     string   // "" = there is only one
}

// Link is a point-to-point link of the fabric.
type Link struct {
	A, B LinkEnd
}

// LinkEnd is one end of a Link, with its on-link addresses.
type LinkEnd struct {
	Node, Name string
	Addr       DualPrefix
}

// Plan is a data centre as data.
type Plan struct {
	Hypervisors []Hypervisor
	Routers     []Router
	VMs         []VM
	Links       []Link
	Mgmt, CN    Dual

	// Transit are nodes that forward and run no program of ours.
	Transit []string
	// Routes are each node's static routes; nil = what follows from Links, read
	// as a tree from its root down.
	Routes map[string][]Route
}

// Hypervisor finds a hypervisor by name.
func (p *Plan) Hypervisor(name string) (Hypervisor, bool) {
	for _, h := range p.Hypervisors {
		if h.Name == name {
			return h, true
		}
	}
	return Hypervisor{}, false
}

// VM finds a VM by name.
func (p *Plan) VM(name string) (VM, bool) {
	for _, v := range p.VMs {
		if v.Name == name {
			return v, true
		}
	}
	return VM{}, false
}

// PeerAt is the resident VM of a hypervisor: the one that never moves.
func (p *Plan) PeerAt(hv string) (VM, bool) {
	for _, v := range p.VMs[1:] {
		if v.Home == hv {
			return v, true
		}
	}
	return VM{}, false
}

// Standard is the plan that package doc describes. vm1 starts at hvA and
// moves; vm2, vm3 and vm4 stay at hvA, hvB and hvC.
func Standard() Plan {
	p := Plan{
		Mgmt: dual("2001:db8:ff::1", "10.255.0.1"),
		CN:   dual("2001:db8:cafe::10", "192.0.2.10"),
		Routers: []Router{
			{Name: ToRA, Locator: dual("2001:db8:0:a::1", "10.0.10.1"), Distance: 1, Role: "tor", Uplinks: []string{Spine}},
			{Name: ToRB, Locator: dual("2001:db8:0:b::1", "10.0.11.1"), Distance: 1, Role: "tor", Uplinks: []string{Spine}},
			{Name: Spine, Locator: dual("2001:db8:0:f::1", "10.0.15.1"), Distance: 2, Role: "spine"},
		},
		Links: []Link{
			{end(Spine, ToRA, "2001:db8:0:1::1/64", "10.0.1.1/24"), end(ToRA, "up0", "2001:db8:0:1::2/64", "10.0.1.2/24")},
			{end(Spine, ToRB, "2001:db8:0:2::1/64", "10.0.2.1/24"), end(ToRB, "up0", "2001:db8:0:2::2/64", "10.0.2.2/24")},
			{end(Spine, Mgmt, "2001:db8:ff::fe/64", "10.255.0.254/24"), end(Mgmt, FabricPort, "2001:db8:ff::1/64", "10.255.0.1/24")},
			{end(Spine, CN, "2001:db8:cafe::fe/64", "192.0.2.254/24"), end(CN, FabricPort, "2001:db8:cafe::10/64", "192.0.2.10/24")},
		},
	}
	for i, h := range []struct{ name, letter, tor string }{{HVA, "a", ToRA}, {HVB, "b", ToRB}, {HVC, "c", ToRB}} {
		p.addHypervisor(h.name, h.letter, h.tor, i+1)
	}
	for i, home := range []string{HVA, HVA, HVB, HVC} {
		p.addVM(i+1, home)
	}
	return p
}

// addVM adds VM n at home at a hypervisor.
func (p *Plan) addVM(n int, home string) {
	h, _ := p.Hypervisor(home)
	host := n * 10
	p.VMs = append(p.VMs, VM{
		Name: fmt.Sprintf("vm%d", n), ID: fmt.Sprintf("vm%d@dc1.example", n), Home: home,
		MAC: []byte{0x52, 0x54, 0x00, 0x00, 0x00, byte(n)},
		Addr: dual(fmt.Sprintf("%s%d", h.Range.V6.Addr(), host),
			fmt.Sprintf("10.%d.1.%d", h.Range.V4.Addr().As4()[1], host)),
	})
}

func (p *Plan) addHypervisor(name, letter, tor string, n int) {
	six := func(format string) string { return fmt.Sprintf(format, letter) }
	four := func(format string) string { return fmt.Sprintf(format, n) }
	p.Hypervisors = append(p.Hypervisors, Hypervisor{
		Name: name, Router: tor,
		Locator:   dual(six("2001:db8:%s::1"), four("10.%d.0.1")),
		Aggregate: prefixes(six("2001:db8:%s::/48"), four("10.%d.0.0/16")),
		Range:     prefixes(six("2001:db8:%s:1::/64"), four("10.%d.1.0/24")),
		Pool:      prefixes(six("2001:db8:%s:d::/64"), four("10.%d.200.0/24")),
	})
	p.Links = append(p.Links, Link{
		end(tor, name, six("2001:db8:%s::fe/64"), four("10.%d.0.254/24")),
		end(name, FabricPort, six("2001:db8:%s::1/64"), four("10.%d.0.1/24")),
	})
}

func dual(six, four string) Dual { return Dual{netip.MustParseAddr(six), netip.MustParseAddr(four)} }

func prefixes(six, four string) DualPrefix {
	return DualPrefix{netip.MustParsePrefix(six), netip.MustParsePrefix(four)}
}

func end(node, name, six, four string) LinkEnd { return LinkEnd{node, name, prefixes(six, four)} }
