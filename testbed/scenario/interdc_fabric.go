package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/dpmip/dpmip/api/dpmip/v1/dpmipv1connect"
	"github.com/dpmip/dpmip/testbed/clock"
	"github.com/dpmip/dpmip/testbed/peers/bird"
	"github.com/dpmip/dpmip/testbed/peers/frr"
	"github.com/dpmip/dpmip/testbed/topology"
)

// fabric is the routing of the two data centres: an FRR at each router, a BIRD
// at the provider and at the third site, rules at the borders.
type fabric struct {
	dc      *DataCentre
	in      *interior
	frr     map[string]*frr.Router
	birds   map[string]*bird.Router
	clients map[string]dpmipv1connect.RouterServiceClient
	last    string // what was missing last before the routing had settled
}

// TwoSites is a pair of data centres that are up; see topology.InterDC.
type TwoSites struct {
	*DataCentre
	fabric *fabric
	// Up is how long it took until everything reached everything.
	Up time.Duration
}

// provedBetweenSites is the policy of proofs: both borders and a ToR must be seen
// to reach the delivery addresses before a move is ready, and to have the host
// routes before it is over; they and the provider have seen those of a probe
// address come and go before.
const provedBetweenSites = `proofs = { delivery = "require", source = "require", routes = "require", announced = "require", probes = ["2001:db8:fffe::/64", "10.254.0.0/24"], observers = ["border1", "border2", "torB"], outside = ["peer"], deadline = "3s" }`

// StartTwoSites brings up both data centres, the provider and the third site,
// and waits until the routing has settled. Bin, Seed and Attach of the settings
// count.
func StartTwoSites(ctx context.Context, s Settings) (*TwoSites, error) {
	begin := clock.Now()
	plan := topology.InterDC()
	in := interiorNamed(s.Interior)
	if in == nil {
		return nil, fmt.Errorf("scenario: interior %q: want one of %s", s.Interior, strings.Join(InteriorNames(), " "))
	}
	f := &fabric{in: in, frr: map[string]*frr.Router{}, birds: map[string]*bird.Router{}, clients: map[string]dpmipv1connect.RouterServiceClient{}}
	if s.Prefix == "" {
		s.Prefix = "sites"
	}
	if s.Policy == "" {
		s.Policy = provedBetweenSites
	}
	s.plan, s.fabric, s.observers = &plan, f.start, f.observers
	s.roles = func(r topology.Router) (top, tables string) {
		if r.Role == "border" {
			return aboveFRR, borderTables(&plan, r)
		}
		return aboveFRR, ""
	}
	for _, name := range []string{topology.Site1, topology.Site2} {
		s.sites = append(s.sites, inventorySite{name, []netip.Prefix{topology.NAT}})
	}
	dc, err := Start(ctx, s)
	if err != nil {
		return nil, err
	}
	t := &TwoSites{DataCentre: dc, fabric: f}
	if err := f.settled(ctx); err != nil {
		return nil, errors.Join(dc.withLogs(err), dc.Close())
	}
	t.Up = clock.Now() - begin
	return t, nil
}

// start starts what routes. The routers come up side by side: most of their
// start is waiting.
func (f *fabric) start(_ context.Context, dc *DataCentre) error {
	f.dc = dc
	p := &dc.Lab.Plan
	for _, r := range p.Routers {
		x, err := frr.New(dc.Lab.Node(r.Name).NS, filepath.Join(dc.Lab.Set.Dir(), "frr-"+r.Name), f.in.daemons...)
		if err != nil {
			return err
		}
		f.frr[r.Name] = x
		if r.Role == "border" {
			x.With(frr.BGP, "-p", "0") // the port is dpmip-router's
			if err := f.edge(r.Name, edgeRules(p)); err != nil {
				return err
			}
		}
	}
	for name, config := range map[string]string{topology.Provider: providerConfig(p), topology.Third: thirdConfig(p)} {
		x, err := bird.New(dc.Lab.Node(name).NS, filepath.Join(dc.Lab.Set.Dir(), "bird-"+name), config)
		if err != nil {
			return err
		}
		f.birds[name] = x
	}
	return f.startAll(p)
}

func (f *fabric) startAll(p *topology.Plan) error {
	var wg sync.WaitGroup
	errs := make([]error, len(p.Routers))
	for i, r := range p.Routers {
		config := frrConfig(p, r, f.in)
		if f.dc.set.NoRules {
			config = frrWithoutRules(p, r, f.in)
		}
		wg.Go(func() { errs[i] = f.frr[r.Name].Start(config) })
	}
	var birds []error
	for _, x := range f.birds {
		birds = append(birds, x.Start())
	}
	wg.Wait()
	return errors.Join(append(errs, birds...)...)
}

// edge loads nft rules at a node.
func (f *fabric) edge(node, rules string) error {
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := f.dc.Lab.Node(node).NS.Run(cmd); err != nil {
		return fmt.Errorf("scenario: nft at %s: %w\n%s", node, err, out.String())
	}
	return nil
}

// settlePatience is how long the routing may take to settle. After a partition
// FRR 8.4's ospfd may need 25 s until a router has all external routes again.
const settlePatience = time.Minute

// routed waits for what settled waits for, but for the BGP sessions.
func (f *fabric) routed(ctx context.Context) error {
	return f.await(ctx, func() (string, error) { return f.unrouted(), nil })
}

// settled waits until every router has a way to every locator, to the
// management node and out, until all BGP sessions are up, and until the provider
// and the third site know where the VMs are at home.
func (f *fabric) settled(ctx context.Context) error {
	return f.await(ctx, func() (string, error) { return f.unsettled(ctx) })
}

// inside waits until a router has a way to every locator and to the management
// node.
func (f *fabric) inside(ctx context.Context, node string) error {
	return f.await(ctx, func() (string, error) { return f.lostAt(node), nil })
}

func (f *fabric) await(ctx context.Context, missing func() (string, error)) error {
	deadline := clock.Now() + settlePatience
	for {
		what, err := missing()
		if err != nil || what == "" {
			return err
		}
		f.last = what
		if clock.Now() > deadline {
			return fmt.Errorf("scenario: the routing has not settled after %v: %s%s", settlePatience, what, f.explain(what))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("scenario: the routing has not settled: %s: %w", what, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// neighbours asks a protocol's daemon whom it talks to.
var neighbours = map[frr.Daemon]string{
	frr.OSPF3: "show ipv6 ospf6 neighbor detail", frr.OSPF2: "show ip ospf neighbor", frr.ISIS: "show isis neighbor", frr.BGP: "show bgp summary",
}

// explain is what FRR says of itself at the router where something is missing, by
// which the text begins; "" = nothing.
func (f *fabric) explain(what string) string {
	node, _, _ := strings.Cut(what, " ")
	r := f.frr[node]
	if r == nil {
		return ""
	}
	questions := []string{"show ipv6 route", "show ip route"}
	for _, d := range f.in.daemons {
		questions = append(questions, neighbours[d])
	}
	var b strings.Builder
	for _, c := range questions {
		out, err := r.Show(c)
		if err != nil {
			out = err.Error()
		}
		fmt.Fprintf(&b, "\n%s: %s:\n%s", node, c, out)
	}
	return b.String()
}

// lostAt names a place of the operator's own to which a router has no way, or
// only the way out; "" = none.
func (f *fabric) lostAt(node string) string {
	p := &f.dc.Lab.Plan
	own := p.Mgmt.Both()
	for i := range p.Hypervisors {
		own = append(own, p.Hypervisors[i].Locator.Both()...)
	}
	for _, r := range p.Routers {
		own = append(own, r.Locator.Both()...)
	}
	for _, a := range own {
		if x, err := f.lookup(node, a); err != nil || x.Prefix.Bits() == 0 {
			return fmt.Sprintf("%s has no way to %s", node, a)
		}
	}
	return ""
}

// lost is lostAt of all routers, and of the way out.
func (f *fabric) lost(p *topology.Plan) string {
	for _, r := range p.Routers {
		if what := f.lostAt(r.Name); what != "" {
			return what
		}
		for _, a := range p.CN.Both() {
			if _, err := f.lookup(r.Name, a); err != nil {
				return fmt.Sprintf("%s has no way out to %s", r.Name, a)
			}
		}
	}
	return ""
}

// unrouted names something that is missing in a kernel's table; "" = nothing.
func (f *fabric) unrouted() string {
	p := &f.dc.Lab.Plan
	if what := f.lost(p); what != "" {
		return what
	}
	for _, node := range []string{topology.Provider, topology.Third} {
		for _, v := range p.VMs[:3] {
			for _, a := range v.Addr.Both() {
				if r, err := f.lookup(node, a); err != nil || r.Prefix.Bits() == 0 {
					return fmt.Sprintf("%s does not know where %s is at home", node, a)
				}
			}
		}
	}
	return ""
}

// unsettled names something that is missing; "" = nothing.
func (f *fabric) unsettled(ctx context.Context) (string, error) {
	if what := f.unrouted(); what != "" {
		return what, nil
	}
	return f.sessionsDown(ctx)
}
