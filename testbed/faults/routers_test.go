package faults

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/testbed/scenario"
	"github.com/dpmip/dpmip/testbed/topology"
)

var routers = []string{topology.ToRA, topology.ToRB, topology.Spine}

// routed is plan for a routed move.
func (w *world) routed() *move {
	m := w.plan()
	m.redirect = "routed"
	return m
}

// routes lists the host routes of a router, as its kernel has them.
func (w *world) routes(node string) []string {
	w.t.Helper()
	res, err := w.router(node).ListRoutes(w.ctx, connect.NewRequest(&v1.ListRoutesRequest{}))
	w.must(err)
	var out []string
	for _, r := range res.Msg.Routes {
		out = append(out, fmt.Sprintf("%s to %s by %s %s of %s epoch %d installed %v %s", r.Address, r.Locator, r.NextHop, r.Device, r.Vm, r.Epoch, r.Installed, r.Error))
	}
	slices.Sort(out)
	return out
}

// routesTo waits until every router's routes of the mover lead to the node; ""
// means that there are none.
func (w *world) routesTo(hv string) {
	w.t.Helper()
	for _, r := range routers {
		w.eventually("host routes at "+r, func() string {
			res, err := w.router(r).ListRoutes(w.ctx, connect.NewRequest(&v1.ListRoutesRequest{}))
			if err != nil {
				return err.Error()
			}
			if want := map[bool]int{true: 0, false: len(families)}[hv == ""]; len(res.Msg.Routes) != want {
				return fmt.Sprintf("%d routes, want %d", len(res.Msg.Routes), want)
			}
			for _, x := range res.Msg.Routes {
				h, _ := w.dc.Lab.Plan.Hypervisor(hv)
				if !x.Installed || !slices.Contains([]string{h.Locator.V6.String(), h.Locator.V4.String()}, x.Locator) {
					return fmt.Sprintf("%s leads to %s, installed: %v %s", x.Address, x.Locator, x.Installed, x.Error)
				}
			}
			return ""
		})
	}
}

// bypassed asserts that traffic no longer passes the source.
func (w *world) bypassed(f *flows, source string) {
	w.t.Helper()
	f.more("the routes are confirmed")
	before := w.hits(source, "redirect")
	f.more("the routes are confirmed")
	if now := w.hits(source, "redirect"); now > before { // a redirect that has drained takes its counter with it
		w.t.Errorf("the redirect at %s still counts (%d -> %d packets) although all routers have confirmed", source, before, now)
	}
}

// routePhases are the points of a routed move that matter to a router.
var routePhases = []struct {
	name string
	move func(w *world, m *move, victim string)
}{
	{"prepared", func(w *world, m *move, victim string) {
		m.prepare()
		w.restart(victim)
		m.finish()
	}},
	{"released", func(w *world, m *move, victim string) {
		m.prepare()
		m.release()
		w.restart(victim)
		m.carry()
		m.activate(10 * time.Second)
		m.confirmed()
	}},
	{"committed, route unanswered", func(w *world, m *move, victim string) {
		m.prepare()
		m.release()
		w.stun(victim)
		m.carry()
		if !m.activate(10 * time.Second) {
			w.t.Error("the COMMIT waited for a router")
		}
		w.restart(victim)
		m.confirmed()
	}},
	{"confirmed", func(w *world, m *move, victim string) {
		m.prepare()
		m.finish()
		before := w.routes(victim)
		w.restart(victim)
		if d := cmp.Diff(before, w.routes(victim)); d != "" || len(before) == 0 {
			w.t.Errorf("host routes at %s (-before +after the restart)\n%s", victim, d)
		}
	}},
}

// TestRouterKilledAtEachPhase kills each router at each phase of a routed move.
func TestRouterKilledAtEachPhase(t *testing.T) {
	var cases []testCase
	for _, victim := range routers {
		for _, p := range routePhases {
			cases = append(cases, testCase{victim + ", " + p.name, func(w *world) {
				f := w.talk()
				m := w.routed()
				p.move(w, m, victim)
				if m.to != topology.HVA {
					w.routesTo(m.to)
					w.bypassed(f, m.from)
				}
				f.whole()
			}})
		}
		cases = append(cases, testCase{victim + ", withdrawal unanswered", func(w *world) { killedWithdrawing(w, victim) }})
	}
	family(t, scenario.Settings{}, nil, cases)
}

// killedWithdrawing brings the mover home while the router is dead.
func killedWithdrawing(w *world, victim string) {
	f := w.talk()
	if w.at == topology.HVA {
		w.routed().prepare().finish()
	}
	m := w.routed()
	m.to = topology.HVA
	m.prepare()
	m.release()
	w.kill(victim)
	m.carry()
	m.activate(10 * time.Second)
	f.more("at home, " + victim + " is dead")
	w.start(victim)
	m.confirmed()
	w.routesTo("")
	f.whole()
}

// TestDeadRouter: a routed move with a router that does not answer. The
// management node retries and backs off, the redirect serves the traffic as if
// the move were translated; when the router returns the move is confirmed.
func TestDeadRouter(t *testing.T) {
	var cases []testCase
	for _, dead := range routers {
		cases = append(cases, testCase{dead, func(w *world) {
			w.home()
			f, beside := w.talk(topology.CN, "vm3"), w.talk("vm2")
			m := w.routed()
			w.kill(dead)
			m.prepare()
			m.release()
			m.carry()
			m.activate(10 * time.Second)
			const event = `dpmip_mgmt_registration_events_total{event="request_retransmitted"}`
			before := w.metrics(topology.Mgmt)[event]
			f.more(dead + " is dead")
			w.pass(shortOr(1500*time.Millisecond, 30*time.Second))
			f.more(dead + " is still dead")
			tries := w.metrics(topology.Mgmt)[event] - before
			if limit := shortOr(40*time.Second, 100*time.Second).Seconds(); tries < 1 || tries > limit {
				w.t.Errorf("the management node has retried %v times: it should retry, and back off (at most %v)", tries, limit)
			}
			if missing := unconfirmed(w.binding(m.id)); missing == "" {
				w.t.Errorf("%s is dead, and the binding says that all have confirmed", dead)
			}
			w.start(dead)
			m.confirmed()
			w.routesTo(m.to)
			beside.whole() // a VM beside the source goes on using the redirect
			w.bypassed(f, m.from)
			f.whole()
		}})
	}
	family(t, scenario.Settings{}, nil, cases)
}

// TestRoutersReport: over the admin interface each router tells the management
// node what it holds itself, and goes on when either has restarted.
func TestRoutersReport(t *testing.T) {
	alone(t, scenario.Settings{}, nil, func(w *world) {
		reported := func(want uint32) {
			t.Helper()
			w.eventually(fmt.Sprintf("reports of %d host routes", want), func() string {
				res, err := w.mgmt().ListRouters(w.ctx, connect.NewRequest(&v1.ListRoutersRequest{}))
				if err != nil {
					return err.Error()
				}
				if len(res.Msg.Routers) != len(routers) {
					return fmt.Sprintf("%d routers, want %d", len(res.Msg.Routers), len(routers))
				}
				for _, r := range res.Msg.Routers {
					own, err := w.router(r.Name).GetUse(w.ctx, connect.NewRequest(&v1.GetUseRequest{}))
					if err != nil {
						return err.Error()
					}
					switch {
					case r.Report == nil || time.Since(time.Unix(0, r.ReportedAtNs)) > time.Minute:
						return r.Name + " has not reported"
					case r.Report.Use.Routes != want || cmp.Diff(own.Msg, r.Report.Use, protocmp.Transform()) != "":
						return fmt.Sprintf("%s reports %v, itself it says %v, want %d routes", r.Name, r.Report.Use, own.Msg, want)
					}
				}
				return ""
			})
		}
		// holds waits until the management node knows of each router and address: it
		// is there, for the mover, since some time; or no more.
		holds := func(want bool) {
			t.Helper()
			w.eventually(fmt.Sprintf("host routes as reported: %v", want), func() string {
				for _, a := range []string{w.vm(mover).Addr.V6.String(), w.vm(mover).Addr.V4.String()} {
					res, err := w.mgmt().ListHostRoutes(w.ctx, connect.NewRequest(&v1.ListHostRoutesRequest{Address: a}))
					if err != nil {
						return err.Error()
					}
					if n := len(res.Msg.Routes); want && n != len(routers) || !want && n != 0 {
						return fmt.Sprintf("%s: %d routers report a route", a, n)
					}
					for _, x := range res.Msg.Routes {
						if !x.Route.Installed || x.Route.SinceNs == 0 || x.Route.Vm != w.binding(x.Route.Vm).Vm || x.ReportedAtNs == 0 {
							return fmt.Sprintf("%s reports %v", x.Router, x.Route)
						}
					}
				}
				return ""
			})
		}
		reported(0)
		holds(false)
		m := w.routed()
		m.prepare()
		m.leave()
		m.arrive()
		if !m.activate(10 * time.Second) {
			t.Fatal("not committed")
		}
		w.routesTo(m.to)
		n := uint32(len(families))
		reported(n)
		holds(true)
		w.kill(topology.Mgmt)
		w.start(topology.Mgmt)
		reported(n)
		holds(true)
		w.kill(topology.Spine)
		w.start(topology.Spine)
		reported(n)
		holds(true)
		back := w.routed()
		back.to = topology.HVA
		back.prepare().finish()
		w.routesTo("")
		holds(false)
	})
}
