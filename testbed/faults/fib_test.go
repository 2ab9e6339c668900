package faults

import (
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/mobility"
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
		if n := refusedRoutes(w, topology.HVB); n == 0 {
			t.Error("no route is marked as refused: the switch was not asked")
		}
	})
}

// refusedRoutes counts the routes of a node that its switch has refused.
func refusedRoutes(w *world, node string) (n int) {
	w.t.Helper()
	for _, family := range []int{netlink.FAMILY_V6, netlink.FAMILY_V4} {
		all, err := w.dc.Lab.Node(node).NS.Netlink().RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		w.must(err)
		for _, r := range all {
			if r.Flags&unix.RTM_F_OFFLOAD_FAILED != 0 {
				n++
			}
		}
	}
	return n
}
