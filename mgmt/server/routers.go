package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/mgmt"
)

// Bounds of one router's report.
const (
	maxSessions   = 1024
	maxHostRoutes = 1 << 20
	maxChecks     = 256
)

// routerReports keeps the newest report of each router: figures for people, not
// durable. The zero value is empty and ready.
type routerReports struct {
	mu   sync.Mutex // guards last
	last map[string]routerReport
}

type routerReport struct {
	report *v1.RouterReport // without its routes
	at     time.Time
	routes map[string]*v1.Route // by address; of this router
}

// errNoBase: changes came, and what they are changes of is not known.
var errNoBase = errors.New("report.routes: report all of them first")

func (r *routerReports) put(x *v1.RouterReport, now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last == nil {
		r.last = map[string]routerReport{}
	}
	routes, c := r.last[x.Router].routes, x.Routes
	switch {
	case c == nil: // a router that does not tell them
		routes = nil
	case c.All:
		routes = make(map[string]*v1.Route, len(c.Changed))
	case routes == nil:
		return errNoBase
	}
	for _, route := range c.GetChanged() {
		routes[route.Address] = route
	}
	for _, a := range c.GetGone() {
		delete(routes, a)
	}
	if len(routes) > maxHostRoutes {
		return fmt.Errorf("report.routes: %d of them, at most %d", len(routes), maxHostRoutes)
	}
	x.Routes = nil
	r.last[x.Router] = routerReport{x, now, routes}
	return nil
}

// hostRoutes lists what has been reported of an address ("" = all) by a router
// (likewise), in no order.
func (r *routerReports) hostRoutes(address, router string) (out []*v1.HostRoute) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, x := range r.last {
		if router != "" && router != name {
			continue
		}
		if address != "" {
			if route := x.routes[address]; route != nil {
				out = append(out, &v1.HostRoute{Router: name, Route: route, ReportedAtNs: nanos(x.at)})
			}
			continue
		}
		for _, route := range x.routes {
			out = append(out, &v1.HostRoute{Router: name, Route: route, ReportedAtNs: nanos(x.at)})
		}
	}
	return out
}

// of is a router's newest report and when it came, in nanoseconds; nil, 0 =
// there is none.
func (r *routerReports) of(router string) (*v1.RouterReport, int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	x, ok := r.last[router]
	if !ok {
		return nil, 0
	}
	return x.report, nanos(x.at)
}

func (r *routerReports) all() map[string]routerReport {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.last)
}

// ReportRouter takes what a router of the inventory holds.
func (s *Service) ReportRouter(ctx context.Context, r *connect.Request[v1.ReportRouterRequest]) (*connect.Response[v1.ReportRouterResponse], error) {
	x := r.Msg.Report
	switch {
	case x.GetUse() == nil:
		return nil, badArgument("report.use: missing")
	case len(x.Sessions) > maxSessions:
		return nil, badArgument("report.sessions: %d, at most %d", len(x.Sessions), maxSessions)
	case len(x.Igp) > maxChecks:
		return nil, badArgument("report.igp: %d, at most %d", len(x.Igp), maxChecks)
	}
	if err := mayReport(ctx, x.Router); err != nil {
		return nil, err
	}
	known := false
	err := s.Loop.Do(ctx, func(c *mgmt.Core) {
		if _, known = c.Inventory().Routers[x.Router]; known {
			s.Loop.step(mgmt.RouterLimit{Router: x.Router, Limit: int(x.Use.Limit)})
		}
	})
	if err != nil {
		return nil, failure(err)
	}
	if !known {
		return nil, badArgument("report.router: no router is called %q", x.Router)
	}
	if err := s.routers.put(x, time.Now()); err != nil {
		return nil, connect.NewError(connect.CodeFailedPrecondition, err)
	}
	return connect.NewResponse(&v1.ReportRouterResponse{}), nil
}

// ListHostRoutes tells what the routers have reported, by router and address.
func (s *Service) ListHostRoutes(_ context.Context, r *connect.Request[v1.ListHostRoutesRequest]) (*connect.Response[v1.ListHostRoutesResponse], error) {
	address := r.Msg.GetAddress()
	if address != "" {
		a, err := netip.ParseAddr(address)
		if err != nil {
			return nil, badArgument("address: %q is no address", address)
		}
		address = a.Unmap().String()
	}
	out := s.routers.hostRoutes(address, r.Msg.GetRouter())
	slices.SortFunc(out, func(a, b *v1.HostRoute) int {
		return cmp.Or(strings.Compare(a.Router, b.Router), strings.Compare(a.Route.Address, b.Route.Address))
	})
	return connect.NewResponse(&v1.ListHostRoutesResponse{Routes: out}), nil
}

// RouterGauges shows what the routers have reported.
func RouterGauges(s *Service) prometheus.Collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("dpmip_mgmt_router_"+name, help, append([]string{"router"}, labels...), nil)
	}
	return &routerGauges{
		s:       s,
		routes:  desc("routes", "Host routes that the router holds, as it reports."),
		limit:   desc("route_limit", "Host routes that the router may hold."),
		refused: desc("refused_total", "Requests that the router answered 130 since its start."),
		age:     desc("report_age_seconds", "How long ago the router reported."),
		session: desc("session_up", "1 while the router's BGP session is established.", "peer"),
		flaps:   desc("session_flaps_total", "How often the BGP session went down.", "peer"),
	}
}

type routerGauges struct {
	s                                           *Service
	routes, limit, refused, age, session, flaps *prometheus.Desc
}

func (g *routerGauges) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{g.routes, g.limit, g.refused, g.age, g.session, g.flaps} {
		ch <- d
	}
}

func (g *routerGauges) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, kind, v, labels...)
	}
	for name, x := range g.s.routers.all() {
		u := x.report.Use
		gauge(g.routes, prometheus.GaugeValue, float64(u.Routes), name)
		gauge(g.limit, prometheus.GaugeValue, float64(u.Limit), name)
		gauge(g.refused, prometheus.CounterValue, float64(u.Refused), name)
		gauge(g.age, prometheus.GaugeValue, time.Since(x.at).Seconds(), name)
		peers := map[string]*v1.Session{} // of one name the last: a label must be unique
		for _, p := range x.report.Sessions {
			peers[p.Peer] = p
		}
		for peer, p := range peers {
			up := 0.0
			if p.State == "established" {
				up = 1
			}
			gauge(g.session, prometheus.GaugeValue, up, name, peer)
			gauge(g.flaps, prometheus.CounterValue, float64(p.Flaps), name, peer)
		}
	}
}
