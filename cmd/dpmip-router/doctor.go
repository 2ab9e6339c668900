package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/internal/buildinfo"
	"github.com/dpmip/dpmip/router/bgp"
	"github.com/dpmip/dpmip/router/fib"
	"github.com/dpmip/dpmip/router/igp"
)

// Doctor explains what would keep this router from doing its work.
func (s *service) Doctor(ctx context.Context, _ *connect.Request[v1.DoctorRequest]) (*connect.Response[v1.DoctorResponse], error) {
	out := &v1.DoctorResponse{Version: buildinfo.Version()}
	for _, f := range []struct{ name, path string }{
		{"IPv6 forwarding", "/proc/sys/net/ipv6/conf/all/forwarding"},
		{"IPv4 forwarding", "/proc/sys/net/ipv4/ip_forward"},
	} {
		out.Checks = append(out.Checks, sysctlIs(f.name, f.path, "1", "this node does not forward: set it to 1"))
	}
	out.Checks = append(out.Checks, sysctlIs("strict reverse path filter", "/proc/sys/net/ipv4/conf/all/rp_filter", "0 2",
		"a moved VM's packets may be dropped as spoofed: set it to 0 or 2 towards the fabric"))
	routes := &v1.Check{Name: "host routes", State: "ok"}
	if err := s.d.healthy(ctx); err != nil {
		routes.State, routes.Found, routes.Advice = "failed", err.Error(), "the kernel has no way to that locator: look at the routes towards the hypervisor"
	}
	out.Checks = append(out.Checks, routes, s.roomCheck(ctx))
	out.Checks = append(out.Checks, s.frrChecks(ctx)...)
	out.Checks = append(out.Checks, s.bgpChecks(ctx)...)
	return connect.NewResponse(out), nil
}

// nearlyFull is from which share of the limit the operator is warned.
const nearlyFull = 0.9

func (s *service) roomCheck(ctx context.Context) *v1.Check {
	c := &v1.Check{Name: "room for host routes", State: "ok"}
	u, err := s.d.server.Use(ctx)
	if err != nil {
		c.State, c.Found = "unknown", err.Error()
		return c
	}
	c.Found = fmt.Sprintf("%d of %d", u.Routes, u.Limit)
	const advice = "routes must give way to translated redirects, or max_routes must grow with what the hardware holds"
	switch {
	case u.Free() == 0:
		c.State, c.Advice = "failed", advice
	case float64(u.Routes) >= nearlyFull*float64(u.Limit):
		c.State, c.Advice = "warning", advice
	}
	if u.Refused > 0 {
		c.Found += fmt.Sprintf("; %d Requests answered 130, last at %s: %s", u.Refused, u.LastAt.UTC().Format(time.RFC3339), u.Last)
	}
	return c
}

// samples is how many host routes FRR is asked about.
const samples = 3

// frrChecks asks the FRR beside us, where the configuration has one.
func (s *service) frrChecks(ctx context.Context) []*v1.Check {
	o := s.d.frr
	if o == nil {
		return nil
	}
	held, err := s.sampleRoutes(ctx)
	if err != nil {
		return []*v1.Check{{Name: "FRR", State: "unknown", Found: err.Error()}}
	}
	var asked []netip.Prefix
	for _, h := range held {
		asked = append(asked, h.Prefix)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	facts, err := igp.Gather(ctx, s.d.cfg.FRR.shell(), o, asked)
	if err != nil {
		advice := "is FRR running here, with vtysh installed and its sockets in socket_dir?"
		return []*v1.Check{{Name: "FRR", State: "failed", Found: err.Error(), Advice: advice}}
	}
	var out []*v1.Check
	for _, f := range igp.Examine(o, facts, held) {
		out = append(out, &v1.Check{Name: f.Name, State: f.State, Found: f.Found, Advice: f.Advice})
	}
	return out
}

// sampleRoutes reads some of our host routes back from the kernel.
func (s *service) sampleRoutes(ctx context.Context) ([]igp.Held, error) {
	routes, err := s.d.server.Routes(ctx)
	if err != nil {
		return nil, err
	}
	var out []igp.Held
	for _, r := range routes[:min(samples, len(routes))] {
		f, err := fib.Lookup(s.d.lookup, r.Address)
		if err != nil && !errors.Is(err, fib.ErrNoNextHop) {
			return nil, err
		}
		if f != nil && f.Prefix.IsSingleIP() {
			out = append(out, igp.Held{Prefix: f.Prefix, Protocol: f.Protocol})
		}
	}
	return out, nil
}

func (s *service) bgpChecks(ctx context.Context) []*v1.Check {
	if s.d.border == nil {
		return nil
	}
	sessions, err := s.d.border.Sessions(ctx)
	if err != nil {
		return []*v1.Check{{Name: "BGP", State: "unknown", Found: err.Error()}}
	}
	var out []*v1.Check
	for i := range sessions {
		out = append(out, sessionCheck(&sessions[i]))
	}
	return out
}

func sessionCheck(x *bgp.Session) *v1.Check {
	c := &v1.Check{Name: "BGP session " + x.Peer.Name, State: "ok", Found: fmt.Sprintf("%s, %d accepted, %d refused, %d announced", x.State, x.Accepted, x.Refused, x.Announced)}
	switch {
	case x.State == bgp.Waiting:
		c.State, c.Found, c.Advice = "failed", x.State+": "+x.Problem, "give this node the address, or take it out of bgp.listen; the router goes on by itself"
	case x.State != bgp.Established:
		c.State, c.Found, c.Advice = "failed", x.State+": "+x.Problem, "compare address, AS number, password and TTL of both ends"
	case x.Refused > 0:
		c.State, c.Advice = "warning", "dpmipctl exchanged --peer "+x.Peer.Name+" tells why each was refused"
	}
	return c
}

func sysctlIs(name, path, want, advice string) *v1.Check {
	c := &v1.Check{Name: name, State: "ok"}
	b, err := os.ReadFile(path)
	c.Found = strings.TrimSpace(string(b))
	switch {
	case err != nil:
		c.State, c.Found = "unknown", err.Error()
	case !slices.Contains(strings.Fields(want), c.Found):
		c.State, c.Advice = "warning", advice
	}
	return c
}
