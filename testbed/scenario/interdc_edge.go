package scenario

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/dpmip/dpmip/testbed/topology"
)

// asn are the autonomous systems.
var asn = map[string]int{topology.Site1: 65001, topology.Site2: 65002, topology.Provider: 64999, topology.Third: 65003}

// borders are the border router of each site.
var borders = map[string]string{topology.Site1: topology.Border1, topology.Site2: topology.Border2}

// theOther is the other site of the two.
var theOther = map[string]string{topology.Site1: topology.Site2, topology.Site2: topology.Site1}

const (
	community      = "65000:5436"
	largeCommunity = "65000:5436:1"
)

// aboveFRR is the metric of the management node's host routes where FRR, whose
// routes have 20, is beside.
const aboveFRR = "metric = 15\n"

// borderTables is the border router's [bgp]; docs/fabric.md shows it.
func borderTables(p *topology.Plan, r topology.Router) string {
	var b strings.Builder
	own, _ := p.LinksOf(r.Name)
	out := own[slices.IndexFunc(own, func(e topology.LinkEnd) bool { return e.Name == topology.OutPort })]
	listen := r.Locator.Both() // the provider is called, it need not call
	fmt.Fprintf(&b, `
[bgp]
asn               = %d
router_id         = "%s"
listen            = %s
site              = "%s"
locators          = %s
ranges            = %s
communities       = ["%s"]
large_communities = ["%s"]
graceful_restart  = true
restart_time      = "20s"

[[bgp.sites]]
name     = "%s"
locators = %s
`, asn[r.Site], r.Locator.V4, tomlList(listen), r.Site, tomlList(siteAggregates(p, r.Site)), tomlList(vmRanges(p)), community, largeCommunity,
		theOther[r.Site], tomlList(siteAggregates(p, theOther[r.Site])))
	_, far := p.LinksOf(r.Name)
	hop := far[slices.Index(own, out)].Addr
	other, _ := p.Router(borders[theOther[r.Site]])
	for i, family := range []string{"6", "4"} {
		fmt.Fprintf(&b, providerPeer, family, hop.Both()[i].Addr(), asn[topology.Provider])
		fmt.Fprintf(&b, otherPeer, other.Site, family, other.Locator.Both()[i], r.Locator.Both()[i], asn[other.Site])
	}
	return b.String()
}

const providerPeer = `
[[bgp.peers]]
name          = "provider%s"
address       = "%s"
asn           = %d
announce      = "arrived"
no_export     = true
connect_retry = "1s"
hold_time     = "9s"
`

const otherPeer = `
[[bgp.peers]]
name          = "%s-%s"
address       = "%s"
local         = "%s"
asn           = %d
hops          = 8
announce      = "arrived"
no_export     = true
accept        = true
connect_retry = "1s"
hold_time     = "9s"
`

// siteAggregates are the prefixes of a site's hypervisors.
func siteAggregates(p *topology.Plan, site string) (out []netip.Prefix) {
	for i := range p.Hypervisors {
		if p.Hypervisors[i].Site == site {
			out = append(out, p.Hypervisors[i].Aggregate.Both()...)
		}
	}
	return out
}

// providerConfig is the provider's BIRD. It knows where the sites' VMs are at
// home, by the site's own border or, if that link is down, by the other's; and
// it gives on to its other customer what it is not asked to keep for itself.
// Locators and delivery addresses are nobody's business outside.
func providerConfig(p *topology.Plan) string {
	var b strings.Builder
	b.WriteString("router id 198.51.100.1;\nprotocol device { scan time 1; }\n" + birdKernel)
	for _, s := range []struct {
		name       string
		preference int
		by         func(site string) string
	}{{"home", 210, func(s string) string { return borders[s] }}, {"spare", 190, func(s string) string { return borders[theOther[s]] }}} {
		for i, family := range []string{"6", "4"} {
			fmt.Fprintf(&b, "protocol static %s%s {\n\tipv%s { preference %d; };\n\tcheck link;\n", s.name, family, family, s.preference)
			for j := range p.Hypervisors {
				h := &p.Hypervisors[j]
				fmt.Fprintf(&b, "\troute %s via %s;\n", h.Range.Both()[i], across(p, topology.Provider, s.by(h.Site))[i])
			}
			b.WriteString("}\n")
		}
	}
	for _, s := range []string{topology.Site1, topology.Site2} {
		b.WriteString(birdPeers(p, topology.Provider, borders[s], s, "export none"))
	}
	b.WriteString(birdPeers(p, topology.Provider, topology.Third, topology.Third, "export all"))
	return b.String()
}

// thirdConfig is the third site's BIRD: it believes everything.
func thirdConfig(p *topology.Plan) string {
	return "router id 198.51.100.10;\nprotocol device { scan time 1; }\n" + birdKernel + birdPeers(p, topology.Third, topology.Provider, topology.Provider, "export none")
}

const birdKernel = `protocol kernel { ipv6 { export all; }; }
protocol kernel { ipv4 { export all; }; }
`

// birdPeers are a node's two sessions with a neighbour in an AS.
func birdPeers(p *topology.Plan, node, neighbour, as, export string) string {
	var b strings.Builder
	own, far := across(p, neighbour, node), across(p, node, neighbour)
	self := topology.Provider
	if node == topology.Third {
		self = topology.Third
	}
	for i, family := range []string{"6", "4"} {
		fmt.Fprintf(&b, `protocol bgp %s_%s {
	local %s as %d;
	neighbor %s as %d;
	check link;
	connect delay time 1;
	error wait time 1, 5;
	ipv%s { import all; %s; };
}
`, as, family, own[i], asn[self], far[i], asn[as], family, export)
	}
	return b.String()
}

// across are the addresses of a node's neighbour on the link between them.
func across(p *topology.Plan, node, neighbour string) []netip.Addr {
	_, other := p.LinksOf(node)
	i := slices.IndexFunc(other, func(e topology.LinkEnd) bool { return e.Node == neighbour })
	if i < 0 {
		panic(fmt.Sprintf("scenario: no link between %s and %s", node, neighbour))
	}
	return []netip.Addr{other[i].Addr.V6.Addr(), other[i].Addr.V4.Addr()}
}

// edgeRules are a border router's: what is for the operator alone does not pass
// the port to the provider, and private addresses leave by the site's NAT box,
// which is this router.
func edgeRules(p *topology.Plan) string {
	var six, four []string
	for i := range p.Hypervisors {
		h := &p.Hypervisors[i]
		six = append(six, h.Pool.V6.String(), h.Locator.V6.String())
		four = append(four, h.Pool.V4.String(), h.Locator.V4.String())
	}
	return fmt.Sprintf(`table inet edge {
	set inside6 { type ipv6_addr; flags interval; elements = { %s } }
	set inside4 { type ipv4_addr; flags interval; elements = { %s } }
	chain forward {
		type filter hook forward priority filter; policy accept;
		iifname "%[3]s" ip6 daddr @inside6 counter drop
		iifname "%[3]s" ip daddr @inside4 counter drop
		oifname "%[3]s" ip6 daddr @inside6 counter drop
		oifname "%[3]s" ip daddr @inside4 counter drop
	}
	chain nat {
		type nat hook postrouting priority srcnat; policy accept;
		oifname "%[3]s" ip saddr %s masquerade
	}
}
`, strings.Join(six, ", "), strings.Join(four, ", "), topology.OutPort, topology.NAT)
}
