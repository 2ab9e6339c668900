package offload

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/mobility"
)

var (
	vm1   = mobility.NAI("vm1@lab")
	mac1  = mobility.MAC{2, 0, 0, 0, 0, 1}
	addr  = netip.MustParseAddr
	old6  = addr("2001:db8:a::1")
	old4  = addr("10.0.1.1")
	d6    = addr("2001:db8:b:d::77")
	d4    = addr("10.1.0.9")
	locB  = addr("2001:db8::b")
	locB4 = addr("192.0.2.2")
)

func deliver(epoch mobility.Epoch) *DeliverGroup {
	return &DeliverGroup{Epoch: epoch, Port: "vp1", MAC: mac1, Addresses: []netip.Addr{old6, old4}}
}

func redirect(epoch mobility.Epoch) *RedirectGroup {
	return &RedirectGroup{
		Epoch: epoch, Pairs: []mobility.Pair{{Old: old6, New: d6}, {Old: old4, New: d4}},
		Locator: locB, Locator4: locB4, New: mobility.PolicyReject, PathMTU: 1400,
	}
}

func served(s hwabstraction.Stamp) []hwabstraction.Rule {
	return []hwabstraction.Rule{
		hwabstraction.Deliver{Stamp: s, Address: old6, Restore: old6, Port: "vp1", MAC: mac1},
		hwabstraction.Egress{Stamp: s, Port: "vp1", Source: old6, MAC: mac1},
		hwabstraction.Deliver{Stamp: s, Address: old4, Restore: old4, Port: "vp1", MAC: mac1},
		hwabstraction.Egress{Stamp: s, Port: "vp1", Source: old4, MAC: mac1},
	}
}

func redirected(s hwabstraction.Stamp) []hwabstraction.Rule {
	return []hwabstraction.Rule{
		hwabstraction.Redirect{Stamp: s, Address: old6, To: d6, Locator: locB, New: hwabstraction.NewReject, PathMTU: 1400},
		hwabstraction.Redirect{Stamp: s, Address: old4, To: d4, Locator: locB4, New: hwabstraction.NewReject, PathMTU: 1400},
	}
}

func TestPlan(t *testing.T) {
	t.Parallel()
	held := func(d *DeliverGroup) *DeliverGroup {
		d.Hold = true
		d.Deliveries = []mobility.Delivery{{Old: old6, D: d6}}
		return d
	}
	restore := Restore{Epoch: 2, Delivery: mobility.Delivery{Old: old6, D: d6}, Port: "vp0", MAC: mac1, Hold: true}
	d := func(epoch mobility.Epoch, port string) hwabstraction.Rule {
		return hwabstraction.Deliver{Stamp: Stamp(vm1, epoch), Address: d6, Restore: old6, Port: port, MAC: mac1, Hold: true}
	}
	for name, tc := range map[string]struct {
		binding Binding
		want    []hwabstraction.Rule
	}{
		"nothing":         {Binding{VM: vm1}, nil},
		"serving":         {Binding{VM: vm1, Deliver: deliver(1)}, served(Stamp(vm1, 1))},
		"prepared source": {Binding{VM: vm1, Deliver: deliver(1), Redirect: redirect(2)}, append(served(Stamp(vm1, 1)), redirected(Stamp(vm1, 2))...)},
		"destination":     {Binding{VM: vm1, Deliver: held(deliver(2))}, append([]hwabstraction.Rule{d(2, "vp1")}, served(Stamp(vm1, 2))...)},
		"anchor":          {Binding{VM: vm1, Redirect: redirect(3), Restores: []Restore{restore}}, append([]hwabstraction.Rule{d(2, "vp0")}, redirected(Stamp(vm1, 3))...)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := Plan(tc.binding)
			if diff := cmp.Diff(tc.want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("rules (-want +got):\n%s", diff)
			}
			for _, r := range got {
				if err := r.Validate(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestOwnRanges(t *testing.T) {
	t.Parallel()
	got := Own([]netip.Prefix{netip.MustParsePrefix("2001:db8:a::/64")})
	want := hwabstraction.Unreachable{Stamp: NodeStamp(), Prefix: netip.MustParsePrefix("2001:db8:a::/64")}
	if len(got) != 1 || got[0] != hwabstraction.Rule(want) {
		t.Errorf("Own = %v, want %v", got, want)
	}
}

func TestOwnersDiffer(t *testing.T) {
	t.Parallel()
	ids := []mobility.VMID{vm1, mobility.NAI("vm2@lab"), {Subtype: mobility.IDDUID, Bytes: "vm1@lab"}, {}}
	seen := map[[16]byte]mobility.VMID{}
	for _, id := range ids {
		if other, ok := seen[Owner(id)]; ok {
			t.Errorf("%v and %v have one owner", id, other)
		}
		seen[Owner(id)] = id
	}
}

func with(yes ...hwabstraction.Feature) hwabstraction.Capabilities {
	c := hwabstraction.Capabilities{Backend: "test"}
	for _, f := range yes {
		c.Features = append(c.Features, hwabstraction.Capability{Feature: f, Answer: hwabstraction.Yes})
	}
	return c
}

func TestLadder(t *testing.T) {
	t.Parallel()
	hold := &DeliverGroup{Epoch: 2, Port: "vp1", Addresses: []netip.Addr{old6}, Deliveries: []mobility.Delivery{{Old: old6, D: d6}}, Hold: true}
	drop := redirect(2)
	drop.New = mobility.PolicyDrop
	plain := &RedirectGroup{Epoch: 2, Pairs: []mobility.Pair{{Old: old6, New: old6}}, Locator: locB, New: mobility.PolicyRedirect}
	all := []hwabstraction.Feature{hwabstraction.FeatureRedirect, hwabstraction.FeatureHold, hwabstraction.FeatureConntrack, hwabstraction.FeatureReject}
	for name, tc := range map[string]struct {
		binding Binding
		mode    mobility.Mode
		caps    hwabstraction.Capabilities
		degrade []hwabstraction.Feature
		refused bool
	}{
		"everything":           {Binding{VM: vm1, Deliver: hold, Redirect: redirect(3)}, mobility.ModeHot, with(all...), nil, false},
		"hot without hold":     {Binding{VM: vm1, Deliver: hold}, mobility.ModeHot, with(), nil, true},
		"warm without hold":    {Binding{VM: vm1, Deliver: hold}, mobility.ModeWarm, with(), []hwabstraction.Feature{hwabstraction.FeatureHold}, false},
		"no rewriting":         {Binding{VM: vm1, Redirect: redirect(2)}, mobility.ModeHot, with(hwabstraction.FeatureReject, hwabstraction.FeatureConntrack), nil, true},
		"no rewriting needed":  {Binding{VM: vm1, Redirect: plain}, mobility.ModeHot, with(), nil, false},
		"drop, no conntrack":   {Binding{VM: vm1, Redirect: drop}, mobility.ModeHot, with(hwabstraction.FeatureRedirect), nil, true},
		"reject without means": {Binding{VM: vm1, Redirect: redirect(2)}, mobility.ModeHot, with(hwabstraction.FeatureRedirect, hwabstraction.FeatureConntrack), nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := tc.binding
			if b.Deliver != nil {
				g := *b.Deliver
				b.Deliver = &g
			}
			if diff := cmp.Diff(tc.degrade, Degrade(&b, tc.caps, tc.mode)); diff != "" {
				t.Errorf("degraded (-want +got):\n%s", diff)
			}
			err := Check(b, tc.caps, tc.mode)
			var refusal *mobility.StatusError
			switch {
			case !tc.refused && err != nil:
				t.Error(err)
			case tc.refused && (!errors.As(err, &refusal) || refusal.Status != mobility.StatusForwardingFailed):
				t.Errorf("err = %v, want status 143", err)
			}
		})
	}
}
