package scenario

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dpmip/dpmip/router/igp"
	"github.com/dpmip/dpmip/testbed/peers/frr"
	"github.com/dpmip/dpmip/testbed/topology"
)

// What carries routes inside the two data centres and between them.
const (
	InteriorOSPF = "ospf" // OSPFv3 and OSPFv2
	InteriorISIS = "isis" // IS-IS, both families
	InteriorBGP  = "bgp"  // eBGP from router to router, each an AS of its own (RFC 7938)
)

// interior is one of these.
type interior struct {
	name      string
	protocols []igp.Protocol
	daemons   []frr.Daemon
	link      string // of an interface to another router; %s is its name
	stub      string // of a network that is told of and where no router is: the loopback, the management node's
	router    func(*topology.Plan, topology.Router) string
	wayOut    func(*topology.Plan, topology.Router) string // the borders': the way to everything else
	told      string                                       // toldHosts in force
}

var interiors = []*interior{
	{
		name: InteriorOSPF, protocols: []igp.Protocol{igp.OSPF3, igp.OSPF2}, daemons: []frr.Daemon{frr.OSPF2, frr.OSPF3}, link: ospfLink, stub: ospfStub,
		router: func(_ *topology.Plan, r topology.Router) string { return fmt.Sprintf(ospfRouter, r.Locator.V4) },
		wayOut: func(*topology.Plan, topology.Router) string { return ospfWayOut },
		told:   "ipv6 protocol ospf6 route-map DPMIP-TOLD6\nip protocol ospf route-map DPMIP-TOLD4\n",
	},
	{
		name: InteriorISIS, protocols: []igp.Protocol{igp.ISIS}, daemons: []frr.Daemon{frr.ISIS}, link: isisLink, stub: isisStub,
		router: func(_ *topology.Plan, r topology.Router) string { return fmt.Sprintf(isisRouter, systemID(r)) },
		wayOut: func(*topology.Plan, topology.Router) string { return isisWayOut },
		told:   "ipv6 protocol isis route-map DPMIP-TOLD6\nip protocol isis route-map DPMIP-TOLD4\n",
	},
	{
		name: InteriorBGP, protocols: []igp.Protocol{igp.BGP}, daemons: []frr.Daemon{frr.BGP},
		router: bgpRouter, wayOut: bgpWayOut,
		told: "ipv6 protocol bgp route-map DPMIP-TOLD6\nip protocol bgp route-map DPMIP-TOLD4\n",
	},
}

// InteriorNames lists what may carry the routes.
func InteriorNames() (out []string) {
	for _, in := range interiors {
		out = append(out, in.name)
	}
	return out
}

// interiorNamed finds one; "" is the first.
func interiorNamed(name string) *interior {
	if name == "" {
		return interiors[0]
	}
	i := slices.IndexFunc(interiors, func(in *interior) bool { return in.name == name })
	if i < 0 {
		return nil
	}
	return interiors[i]
}

// of is a template for an interface; "" where there is nothing to say of it.
func (in *interior) of(template, name string) string {
	if template == "" {
		return ""
	}
	return fmt.Sprintf(template, name)
}

// fragment is what dpmip-router at a router generates for its FRR.
func (in *interior) fragment(p *topology.Plan, r topology.Router, ports []string) *igp.Options {
	return &igp.Options{Protocols: in.protocols, Ranges: vmRanges(p), Interfaces: ports, ASN: asnInside(r)}
}

// words are its protocols as configurations name them.
func (in *interior) words() (out []string) {
	for _, p := range in.protocols {
		out = append(out, p.String())
	}
	return out
}

// carries reports whether a route of zebra's is from it, by zebra's word.
func (in *interior) carries(protocol string) bool { return strings.HasPrefix(protocol, in.name) }

// isisLink is a link to another router; %s is its name.
const isisLink = `interface %s
 ip router isis DC
 ipv6 router isis DC
 isis circuit-type level-2-only
 isis network point-to-point
 isis hello-interval 1
 isis hello-multiplier 4
exit
`

const isisStub = `interface %s
 ip router isis DC
 ipv6 router isis DC
 isis passive
exit
`

// isisRouter is every router's; %s is its system ID. The interval stands before
// net: else the second LSP waits for 30 s.
const isisRouter = `router isis DC
 lsp-gen-interval 1
 net 49.0001.%s.00
 is-type level-2-only
 metric-style wide
 spf-delay-ietf init-delay 0 short-delay 50 long-delay 500 holddown 1000 time-to-learn 500
exit
`

const isisWayOut = `router isis DC
 default-information originate ipv4 level-2
 default-information originate ipv6 level-2
exit
`

// systemID is a router's, out of its locator: 10.0.12.1 becomes 0100.0001.2001.
func systemID(r topology.Router) string {
	b := r.Locator.V4.As4()
	digits := fmt.Sprintf("%03d%03d%03d%03d", b[0], b[1], b[2], b[3])
	return digits[:4] + "." + digits[4:8] + "." + digits[8:]
}

// asnInside is a router's own AS inside the data centres.
func asnInside(r topology.Router) uint32 {
	return 4200000000 + uint32(r.Locator.V4.As4()[2])
}

// bgpRouter has a session of each family with every router beside it.
func bgpRouter(p *topology.Plan, r topology.Router) string {
	var b strings.Builder
	fmt.Fprintf(&b, "router bgp %d\n bgp router-id %s\n no bgp ebgp-requires-policy\n no bgp default ipv4-unicast\n", asnInside(r), r.Locator.V4)
	families := []struct{ word, lines string }{{word: "ipv6"}, {word: "ipv4"}}
	for _, n := range routersBeside(p, r) {
		for i, a := range n.addrs {
			fmt.Fprintf(&b, " neighbor %[1]s remote-as %[2]d\n neighbor %[1]s timers 1 4\n neighbor %[1]s timers connect 1\n", a, n.asn)
			families[i].lines += fmt.Sprintf("  neighbor %s activate\n", a)
		}
	}
	for _, f := range families {
		fmt.Fprintf(&b, " address-family %s unicast\n  redistribute connected\n%s exit-address-family\n", f.word, f.lines)
	}
	return b.String() + "exit\n"
}

// bgpWayOut tells every router beside of the way to everything else.
func bgpWayOut(p *topology.Plan, r topology.Router) string {
	var b strings.Builder
	fmt.Fprintf(&b, "router bgp %d\n", asnInside(r))
	for i, word := range []string{"ipv6", "ipv4"} {
		fmt.Fprintf(&b, " address-family %s unicast\n", word)
		for _, n := range routersBeside(p, r) {
			fmt.Fprintf(&b, "  neighbor %s default-originate\n", n.addrs[i])
		}
		b.WriteString(" exit-address-family\n")
	}
	return b.String() + "exit\n"
}

// beside is a router next to another.
type beside struct {
	asn   uint32
	addrs [2]string // IPv6, IPv4
}

func routersBeside(p *topology.Plan, r topology.Router) (out []beside) {
	_, other := p.LinksOf(r.Name)
	for _, e := range other {
		if n, ok := p.Router(e.Node); ok {
			out = append(out, beside{asnInside(n), [2]string{e.Addr.V6.Addr().String(), e.Addr.V4.Addr().String()}})
		}
	}
	return out
}
