package faults

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/internal/rtnl"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/router/fib"
	"github.com/dpmip/dpmip/testbed/netdevsim"
	"github.com/dpmip/dpmip/testbed/scenario"
	"github.com/dpmip/dpmip/testbed/topology"
)

// plenty is room for every route of a test.
const plenty = 10_000

// needsSwitch skips before anything is built: the test runs in the testbed, where
// a skip is a failure.
func needsSwitch(t *testing.T) {
	t.Helper()
	if !netdevsim.Present() {
		t.Skip("this kernel has no netdevsim: make testbed-netdevsim brings one that has")
	}
}

// simulated puts a switch into a hypervisor whose table takes its routes.
func simulated(w *world, node string, id int) *netdevsim.Device {
	w.t.Helper()
	d, err := netdevsim.New(w.dc.Lab.Node(node).NS, id)
	w.must(err)
	w.t.Cleanup(func() {
		if err := d.Close(); err != nil {
			w.t.Error(err)
		}
	})
	return d
}

// TestFullFIB: the destination's switch has no room for one more route of one
// family. The move is refused with 130, nothing changes where the VM is, and with
// room again the same move goes.
func TestFullFIB(t *testing.T) {
	needsSwitch(t)
	for i, x := range []struct {
		name  string
		table netdevsim.Table
	}{{"IPv6", netdevsim.FIB6}, {"IPv4", netdevsim.FIB4}} {
		t.Run(x.name, func(t *testing.T) {
			alone(t, scenario.Settings{}, nil, func(w *world) {
				d := simulated(w, topology.HVB, 10+i)
				used, err := d.Used(x.table)
				w.must(err)
				if used == 0 {
					t.Fatal("the switch has taken no route")
				}
				w.must(d.Limit(x.table, used))
				refusedHere(w, mobility.StatusResources)
				w.must(d.Limit(x.table, plenty))
				f := w.talk()
				w.plan().prepare().finish()
				f.whole()
				if now, err := d.Used(x.table); err != nil || now <= used {
					t.Errorf("the switch had %d routes before the move and has %d, %v", used, now, err)
				}
			})
		})
	}
}

// TestFIBRefusesOffload: the destination's switch takes none of the routes that
// come. They stay the kernel's, marked, and what was acknowledged is carried out.
func TestFIBRefusesOffload(t *testing.T) {
	needsSwitch(t)
	alone(t, scenario.Settings{}, nil, func(w *world) {
		d := simulated(w, topology.HVB, 20)
		w.must(d.FailOffload(true))
		f := w.talk()
		w.plan().prepare().finish()
		f.whole()
		if n := refusedRoutes(w, topology.HVB, 0); n == 0 {
			t.Error("no route is marked as refused: the switch was not asked")
		}
		for _, r := range w.rules(topology.HVB) {
			if strings.Contains(r, " by hardware") {
				t.Errorf("told as placed where it is not: %s", r)
			}
		}
	})
}

// TestRouterFIBRefusesOffload: the switch of the destination's router takes none
// of a routed move's host routes. The router answers 143 and has none in its
// kernel.
func TestRouterFIBRefusesOffload(t *testing.T) {
	needsSwitch(t)
	alone(t, scenario.Settings{}, nil, func(w *world) {
		d := simulated(w, topology.ToRB, 30)
		w.must(d.FailOffload(true))
		steppedDown(w, mobility.StatusForwardingFailed, func() { w.must(d.FailOffload(false)) })
		if n := refusedRoutes(w, topology.ToRB, rtnl.Protocol); n != 0 {
			t.Errorf("%d host routes are still marked as refused", n)
		}
	})
}

// TestRouterFullFIB: the switch of the destination's router has no room for one
// more IPv6 route. The router answers 130.
func TestRouterFullFIB(t *testing.T) {
	needsSwitch(t)
	alone(t, scenario.Settings{}, nil, func(w *world) {
		d := simulated(w, topology.ToRB, 40)
		used, err := d.Used(netdevsim.FIB6)
		w.must(err)
		if used == 0 {
			t.Fatal("the switch has taken no route")
		}
		w.must(d.Limit(netdevsim.FIB6, used))
		steppedDown(w, mobility.StatusResources, func() { w.must(d.Limit(netdevsim.FIB6, plenty)) })
	})
}

// steppedDown makes a routed move to a router whose switch refuses with a status:
// the move stays translated, and when the switch takes routes again the same
// move becomes routed. Nothing is lost.
func steppedDown(w *world, status mobility.Status, again func()) {
	w.t.Helper()
	f := w.talk()
	m := w.routed().prepare()
	m.release()
	m.carry()
	m.activate(slower(10 * time.Second))
	m.committed()
	notRouted(w, m, topology.ToRB, status)
	f.more("the switch refuses the routes")
	before := w.hits(m.from, "redirect")
	f.more("the switch refuses the routes")
	if now := w.hits(m.from, "redirect"); now <= before {
		w.t.Errorf("the redirect at %s does not count (%d, then %d packets) although no router has a route", m.from, before, now)
	}
	again()
	m.confirmed()
	w.routesTo(m.to)
	w.bypassed(f, m.from)
	f.whole()
}

// notRouted waits until a router's refusal shows everywhere that it should.
func notRouted(w *world, m *move, router string, status mobility.Status) {
	w.t.Helper()
	code := fmt.Sprint(uint8(status))
	w.eventually(code+" from "+router, func() string {
		if w.metrics(router)[`dpmip_router_refused_total{status="`+code+`"}`] == 0 {
			return "it has counted no refusal"
		}
		b := w.binding(m.id)
		for _, r := range b.Routes {
			if r.Confirmed {
				return r.Router + " has confirmed"
			}
			if r.Router == router && strings.Contains(r.Error, code) {
				return ""
			}
		}
		return fmt.Sprintf("the management node has of its routers %v", b.Routes)
	})
	why, want := fib.ErrNotOffloaded, len(families)
	if status == mobility.StatusResources { // of one family
		why, want = rtnl.ErrFull, 1
	}
	w.eventually("routes told as refused", func() string { // one that is just being offered again is in the kernel for a moment
		res, err := w.router(router).ListRoutes(w.ctx, connect.NewRequest(&v1.ListRoutesRequest{}))
		if err != nil {
			return err.Error()
		}
		refused := 0
		for _, r := range res.Msg.Routes {
			if !r.Installed && strings.Contains(r.Error, why.Error()) {
				refused++
			}
		}
		if refused != want {
			return fmt.Sprintf("%d, want %d: %v", refused, want, res.Msg.Routes)
		}
		return ""
	})
}

// refusedRoutes counts the routes of a node, of an rtm_protocol (0: any), that its
// switch has refused.
func refusedRoutes(w *world, node string, protocol int) (n int) {
	w.t.Helper()
	for _, family := range []int{netlink.FAMILY_V6, netlink.FAMILY_V4} {
		all, err := w.dc.Lab.Node(node).NS.Netlink().RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		w.must(err)
		for _, r := range all {
			if r.Flags&unix.RTM_F_OFFLOAD_FAILED != 0 && (protocol == 0 || int(r.Protocol) == protocol) {
				n++
			}
		}
	}
	return n
}
