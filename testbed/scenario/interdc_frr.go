package scenario

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/dpmip/dpmip/router/igp"
	"github.com/dpmip/dpmip/testbed/topology"
)

// What follows is the configuration of the two data centres' FRRs; docs/fabric.md
// shows it. One IGP, or BGP from router to router, spans both and the link between
// them; what it is of its own is in an interior.

// ospfLink is a link to another router; %s is its name.
const ospfLink = `interface %s
 ipv6 ospf6 area 0
 ipv6 ospf6 network point-to-point
 ipv6 ospf6 hello-interval 1
 ipv6 ospf6 dead-interval 4
 ipv6 ospf6 retransmit-interval 1
 ip ospf area 0
 ip ospf network point-to-point
 ip ospf hello-interval 1
 ip ospf dead-interval 4
 ip ospf retransmit-interval 1
exit
`

// ospfStub is a network that is told of and where no router is: the loopback,
// the management node's.
const ospfStub = `interface %s
 ipv6 ospf6 area 0
 ipv6 ospf6 passive
 ip ospf area 0
 ip ospf passive
exit
`

// ospfRouter is every router's; %s is its router id.
const ospfRouter = `router ospf6
 ospf6 router-id %[1]s
 timers throttle spf 0 50 500
 timers lsa min-arrival 0
exit
router ospf
 ospf router-id %[1]s
 timers throttle spf 0 50 500
 timers throttle lsa all 0
 timers lsa min-arrival 0
exit
`

// ospfWayOut is the borders': the way to everything else.
const ospfWayOut = `router ospf6
 default-information originate
exit
router ospf
 default-information originate
exit
`

// toldHosts keeps the IGP's host routes of VMs out of the kernels of routers
// that the management node tells: it has an order, the IGP has none. What the
// IGP carries is for the routers that it does not tell.
const toldHosts = `route-map DPMIP-TOLD6 deny 10
 match ipv6 address prefix-list DPMIP-HOSTS6
exit
route-map DPMIP-TOLD6 permit 20
exit
route-map DPMIP-TOLD4 deny 10
 match ip address prefix-list DPMIP-HOSTS4
exit
route-map DPMIP-TOLD4 permit 20
exit
`

// aggregates lets a ToR tell of its hypervisors' prefixes, which are static
// routes of its kernel, too.
const aggregates = `route-map DPMIP6 permit 900
 match ipv6 address prefix-list AGGREGATES6
exit
route-map DPMIP4 permit 900
 match ip address prefix-list AGGREGATES4
exit
`

// hostLists are the lists of what is a VM's host route; igp.Options.Fragment
// brings them where host routes go on.
func hostLists(ranges []netip.Prefix) string {
	var b strings.Builder
	for i, p := range ranges {
		word, list := "ipv6", "DPMIP-HOSTS6"
		if p.Addr().Is4() {
			word, list = "ip", "DPMIP-HOSTS4"
		}
		fmt.Fprintf(&b, "%s prefix-list %s seq %d permit %s ge %d\n", word, list, 5*(i+1), p, p.Addr().BitLen())
	}
	return b.String()
}

// frrWithoutRules lets spines and borders tell of all host routes, and every
// router take them from the others.
func frrWithoutRules(p *topology.Plan, r topology.Router, in *interior) string {
	return strings.TrimSuffix(frrConfig(p, r, in), toldHosts+in.told) + in.fragment(p, r, nil).Fragment()
}

// frrConfig is what the FRR of a router of the plan runs.
func frrConfig(p *topology.Plan, r topology.Router, in *interior) string {
	var b strings.Builder
	var hypervisors []string
	if r.Role != "tor" { // to which the fragment brings it
		b.WriteString(igp.OwnNextHops)
	}
	own, other := p.LinksOf(r.Name)
	b.WriteString(in.of(in.stub, "lo"))
	for i, e := range own {
		_, router := p.Router(other[i].Node)
		switch {
		case router:
			b.WriteString(in.of(in.link, e.Name))
		case other[i].Node == topology.Mgmt:
			b.WriteString(in.of(in.stub, e.Name))
		case e.Name != topology.OutPort:
			hypervisors = append(hypervisors, e.Name)
		}
	}
	b.WriteString(in.router(p, r))
	switch r.Role {
	case "border":
		b.WriteString(in.wayOut(p, r) + hostLists(vmRanges(p)))
	case "tor":
		// The lists first: FRR applies a changed list only 5 s later.
		b.WriteString(aggregateLists(p, r.Name) + aggregates)
		b.WriteString(in.fragment(p, r, hypervisors).Fragment())
	default:
		b.WriteString(hostLists(vmRanges(p)))
	}
	b.WriteString(toldHosts + in.told)
	return b.String()
}

func aggregateLists(p *topology.Plan, tor string) string {
	var b strings.Builder
	n := 0
	for i := range p.Hypervisors {
		if p.Hypervisors[i].Router != tor {
			continue
		}
		for _, a := range p.Hypervisors[i].Aggregates() {
			word, list := "ipv6", "AGGREGATES6"
			if a.Addr().Is4() {
				word, list = "ip", "AGGREGATES4"
			}
			n++
			fmt.Fprintf(&b, "%s prefix-list %s seq %d permit %s\n", word, list, 5*n, a)
		}
	}
	return b.String()
}

// vmRanges are all addresses of VMs, of all sites, but for those behind NAT
// boxes: they have host routes inside their site only; and the probe addresses,
// which must go where those go.
func vmRanges(p *topology.Plan) (out []netip.Prefix) {
	for i := range p.Hypervisors {
		out = append(out, p.Hypervisors[i].Range.Both()...)
	}
	return append(out, probeRanges...)
}
