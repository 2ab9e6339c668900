package agent

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/haltest"
	"github.com/dpmip/dpmip/mobility/registration"
)

// packets lets n UDP datagrams come from the fabric.
func (w *world) packets(n int, to netip.Addr) {
	w.t.Helper()
	f := make([]byte, 14+40+8)
	binary.BigEndian.PutUint16(f[12:], 0x86dd)
	f[14], f[14+6], f[14+7] = 0x60, 17, 64
	binary.BigEndian.PutUint16(f[14+4:], 8)
	from := netip.MustParseAddr("2001:db8:c::1").As16()
	dst := to.As16()
	copy(f[14+8:], from[:])
	copy(f[14+24:], dst[:])
	binary.BigEndian.PutUint16(f[14+40+4:], 8)
	for range n {
		w.dev.Send("fab0", f)
	}
}

// TestTraffic: the traffic of an address that is not at home is told, however it
// comes, once an interval, and idleness once.
func TestTraffic(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config, p *haltest.Plan) {
		c.TrafficInterval, p.Ports = 10*time.Second, []string{"fab0", "p-vm1"}
	})
	told := func(want ...Sample) {
		t.Helper()
		var got []Sample
		for _, x := range w.traffic {
			got = append(got, x.Samples...)
		}
		w.traffic = nil
		if d := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmpopts.EquateEmpty()); d != "" {
			t.Errorf("traffic (-want +got):\n%s", d)
		}
	}
	d := w.prepared(5, hotKeep, away6)
	w.command(activateVM)
	w.reply(w.next("commit"), registration.Reply{Epoch: 5})
	w.pass(10 * time.Second) // what it is compared with
	told()
	w.packets(7, away6)
	w.pass(10 * time.Second)
	told(Sample{VM: vm1, Addr: away6, Packets: 7, Over: 10 * time.Second})
	w.packets(5, d[away6])
	w.pass(10 * time.Second)
	told(Sample{VM: vm1, Addr: away6, Packets: 5, Over: 10 * time.Second})
	w.pass(10 * time.Second)
	told(Sample{VM: vm1, Addr: away6, Over: 10 * time.Second})
	w.pass(time.Minute)
	told()
	w.packets(1, away6)
	w.pass(10 * time.Second)
	told(Sample{VM: vm1, Addr: away6, Packets: 1, Over: 10 * time.Second})
}

// TestAnchorConfirmsWhatTheDeviceHolds: an anchor that is asked again has its
// redirect on the card when it confirms, also where the card had lost it.
func TestAnchorConfirmsWhatTheDeviceHolds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.attached(old6)
	w.accepted("prepare", prepareSource(2, hotKeep, pair6))
	w.command(release)
	w.accepted("redirect", redirectTo(2, locB, hotKeep, pair6))
	w.goes(old6, haltest.ActRedirect, d6)
	w.dev.Vanish(hwabstraction.RedirectID(old6))
	w.accepted("redirect, again", redirectTo(2, locB, hotKeep, pair6))
	w.goes(old6, haltest.ActRedirect, d6)
}

// TestTrafficAtHome: nothing is told of a VM that is at home.
func TestTrafficAtHome(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config, p *haltest.Plan) {
		c.TrafficInterval, p.Ports = 10*time.Second, []string{"fab0", "p-vm1"}
	})
	w.attached(old6)
	w.packets(3, old6)
	w.pass(time.Minute)
	if len(w.traffic) > 0 {
		t.Errorf("told: %v", w.traffic)
	}
}
