package agent

import (
	"net/netip"
	"testing"
	"time"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/haltest"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
	"github.com/dpmip/dpmip/offload"
)

// TestQuarantineOverARestart: of a VM of which only a delivery address in
// quarantine is left the device is not told; what it has of that VM all the same
// goes, and the address is free when its time is over.
func TestQuarantineOverARestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	dev6, until := addr("2001:db8:a:d::77"), w.now.Add(time.Minute)
	w.kept[vm1] = Record{VM: vm1, MAC: mac1, Epoch: 3, Spent: []Spent{{
		Delivery: mobility.Delivery{Old: old6, D: dev6}, State: SpentQuarantine, Epoch: 2, Port: "vp1", Until: until,
	}}}
	stray := hwabstraction.Deliver{Stamp: offload.Stamp(vm1, 2), Address: dev6, Restore: old6, Port: "vp1", MAC: mac1}
	if res := w.dev.Apply(t.Context(), []hwabstraction.Change{hwabstraction.Put(stray)}); res[0].Err != nil {
		t.Fatal(res[0].Err)
	}
	w.restart()
	for _, e := range w.trace {
		if a, ok := e.(Apply); ok && a.VM == vm1 {
			t.Errorf("the device was told of %s: %+v", vm1, a)
		}
	}
	rules, err := w.dev.Rules(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules {
		if r.Rule.ID() == stray.ID() {
			t.Errorf("the device still has %+v", r)
		}
	}
	if _, taken := w.core.addrs.owner(dev6); !taken {
		t.Error("an address in quarantine is free")
	}
	w.pass(2 * time.Minute)
	if _, taken := w.core.addrs.owner(dev6); taken || len(w.kept) > 0 {
		t.Errorf("after the quarantine: taken %v, kept %v", taken, w.kept)
	}
}

// TestAttachedOverAnEarlierStay: a VM that was gone is attached anew where an
// earlier stay had left delivery addresses. The one for an address that it has no
// more is taken off the device; nobody gets it, and it is free in the end.
func TestAttachedOverAnEarlierStay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	stale, mine := addr("2001:db8:a:d::77"), addr("2001:db8:a:d::78")
	spent := func(old, d netip.Addr) Spent {
		return Spent{Delivery: mobility.Delivery{Old: old, D: d}, State: SpentRestoring, Epoch: 2, Port: "p-vm1"}
	}
	w.kept[vm1] = Record{VM: vm1, MAC: mac1, Epoch: 3, Spent: []Spent{spent(away6, stale), spent(old6, mine)}}
	w.restart()
	w.goes(stale, haltest.ActDeliver, away6)
	w.command(func(id CommandID) Event {
		return Attach{ID: id, VM: vm1, MAC: mac1, Addresses: []netip.Addr{old6}, Wait: time.Second}
	})
	w.reply(w.next("attach"), registration.Reply{Epoch: 6})
	w.holds(hwabstraction.DeliverID(old6), hwabstraction.EgressID("p-vm1", old6), hwabstraction.DeliverID(mine))
	w.goes(mine, haltest.ActDeliver, old6)
	w.pass(time.Hour)
	if owner, _ := w.core.addrs.owner(stale); owner != vm1 {
		t.Error("an address to which somebody may still send is free")
	}
	w.command(func(id CommandID) Event { return Detach{ID: id, VM: vm1} })
	w.pass(time.Hour)
	if _, taken := w.core.addrs.owner(stale); taken {
		t.Error("the address is kept after the VM has gone")
	}
}
