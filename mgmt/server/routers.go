package server

import (
	"context"
	"maps"
	"sync"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/mgmt"
)

// maxSessions bounds the sessions of one router's report.
const maxSessions = 1024

// routerReports keeps the newest report of each router: figures for people, not
// durable. The zero value is empty and ready.
type routerReports struct {
	mu   sync.Mutex // guards last
	last map[string]routerReport
}

type routerReport struct {
	report *v1.RouterReport
	at     time.Time
}

func (r *routerReports) put(x *v1.RouterReport, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last == nil {
		r.last = map[string]routerReport{}
	}
	r.last[x.Router] = routerReport{x, now}
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
	}
	if err := mayReport(ctx, x.Router); err != nil {
		return nil, err
	}
	known := false
	if err := s.Loop.Do(ctx, func(c *mgmt.Core) { _, known = c.Inventory().Routers[x.Router] }); err != nil {
		return nil, failure(err)
	}
	if !known {
		return nil, badArgument("report.router: no router is called %q", x.Router)
	}
	s.routers.put(x, time.Now())
	return connect.NewResponse(&v1.ReportRouterResponse{}), nil
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
