package detect

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/haltest"
	"github.com/dpmip/dpmip/hwabstraction/switchdev"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/tc"
)

// TestOpenFast opens the fast path as configured, by name and by auto, and goes
// on in software between: then no filter is left.
func TestOpenFast(t *testing.T) {
	t.Parallel()
	if !*flowerHere {
		t.Skip("make testbed-arm64 runs it, in a kernel that has flower")
	}
	var (
		hw      *Hardware
		env     haltest.Env
		backend = Switchdev
	)
	rig := haltest.NewNamespaceRig(t, func(e haltest.Env) (d hwabstraction.Device, err error) {
		if env = e; hw != nil {
			if err := hw.Close(); err != nil {
				return nil, err
			}
		}
		hw, err = Open(context.Background(), Config{
			Backend: backend, SkipHW: backend != Software, NetNS: e.NetNS, BPFDir: e.BPFFS, Fabric: []string{e.Fabric}, MaxRules: 64, MaxFlows: 64,
		})
		if err != nil {
			return nil, err
		}
		return hw.Device, nil
	})
	t.Cleanup(func() { hw.Close() })
	vm, old := rig.World.VMs()[0], netip.MustParseAddr("2001:db8:a::5")
	stamp := hwabstraction.Stamp{Owner: [16]byte{1}, Epoch: 1}
	res := hw.Device.Apply(t.Context(), []hwabstraction.Change{hwabstraction.Put(hwabstraction.Deliver{
		Stamp: stamp, Address: old, Restore: old, Port: vm.Name, MAC: vm.Far,
	})})
	if res[0].Err != nil {
		t.Fatal(res[0].Err)
	}
	if err := hw.Device.Activate(stamp); err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct {
		backend string
		fast    bool
	}{{Switchdev, true}, {Software, false}, {Auto, true}, {Software, false}} {
		backend = want.backend
		rig.Reopen(t)
		if d, ok := hw.Device.(*switchdev.Device); ok {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			if err := d.Settle(ctx); err != nil {
				t.Error(err)
			}
			cancel()
		}
		if got := filtersOf(t, env); (got > 0) != want.fast {
			t.Errorf("%s: %d filters on the fabric port; %s", want.backend, got, hw.Reason)
		}
		rules, err := hw.Device.Rules(t.Context())
		if err != nil || len(rules) != 1 || !rules[0].On {
			t.Errorf("%s: %+v, %v", want.backend, rules, err)
		}
	}
}

// filtersOf counts flower filters on the fabric port.
func filtersOf(t *testing.T, e haltest.Env) (n int) {
	t.Helper()
	names, err := NewResolver(e.NetNS, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer names.Close()
	table, err := tc.Dial(e.NetNS)
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	port, err := names.Index(e.Fabric)
	if err != nil {
		t.Fatal(err)
	}
	found, err := table.List(t.Context(), port)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range found {
		if s.Kind == "flower" {
			n++
		}
	}
	return n
}
