package detect

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/haltest"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

// TestProbe looks at the machine of the test, which must be able to do what
// the tests of the backends do.
func TestProbe(t *testing.T) {
	t.Parallel()
	needRoot(t)
	e := Probe(ProbeConfig{BPFDir: "/sys/fs/bpf", Region: "/dev/shm/region"})
	must := []string{BPF, ClsBPF, IFB, TBF, NFTables, BTF}
	if *flowerHere {
		must = append(must, fastPath...)
	}
	for _, name := range must {
		if f := e.Features[name]; f.Answer != hwabstraction.Yes {
			t.Errorf("%s: %s, %s", name, f.Answer, f.Reason)
		}
	}
	for name, f := range e.Features {
		if f.Answer != hwabstraction.Yes && f.Reason == "" {
			t.Errorf("%s is %s without a reason", name, f.Answer)
		}
	}
	for _, name := range []string{"CAP_NET_ADMIN", "CAP_SYS_ADMIN"} {
		if f := e.Capabilities[name]; f.Answer != hwabstraction.Yes {
			t.Errorf("%s of root: %s, %s", name, f.Answer, f.Reason)
		}
	}
	if _, ok := e.netdev("lo"); !ok || e.Kernel == "" || e.Machine == "" || e.RegionDir.Type == "" {
		t.Errorf("found %+v", e)
	}
	if e.atLeast(6, 6) && e.Features[TCX].Answer != hwabstraction.Yes {
		t.Errorf("Linux %s has TCX, the probe says %+v", e.Kernel, e.Features[TCX])
	}
}

// TestOpen opens everything in a namespace, lets go as a killed process would,
// and opens it again.
func TestOpen(t *testing.T) {
	t.Parallel()
	needRoot(t)
	var hw *Hardware
	dir := shm(t)
	open := func(e haltest.Env) (hwabstraction.Device, error) {
		if hw != nil {
			if err := hw.Close(); err != nil { // the region has one owner
				return nil, err
			}
		}
		var err error
		hw, err = Open(context.Background(), Config{
			NetNS: e.NetNS, BPFDir: e.BPFFS, Fabric: []string{e.Fabric}, MaxRules: 64, MaxFlows: 64,
			Region: RegionConfig{
				Path: filepath.Join(dir, "region"), Size: 1 << 20, Journal: "routes",
				Areas: []Area{{Name: "routes", Size: JournalSize(64)}, {Name: "rest"}},
			},
		})
		if err != nil {
			return nil, err
		}
		return hw.Device, nil
	}
	rig := haltest.NewNamespaceRig(t, open)
	t.Cleanup(func() { hw.Close() })
	if hw.Choice.Backend != Software || hw.Reason == "" || hw.Region == nil || hw.Region.Origin() != hwabstraction.RegionCreated {
		t.Errorf("opened %+v", hw)
	}
	if d, ok := hw.Environment.netdev(rig.World.Fabric().Name); !ok || d.Kind != "veth" {
		t.Errorf("the fabric port is %+v", d)
	}
	area, err := hw.Area("rest")
	if err != nil || area.Size() == 0 {
		t.Fatalf("area: %v", err)
	}
	if _, err := hw.Area("nosuch"); err == nil {
		t.Error("an area that is not there was given out")
	}
	if _, err := hw.Flows.Flows(t.Context(), []netip.Addr{netip.MustParseAddr("192.0.2.9")}); err != nil {
		t.Errorf("flows: %v", err)
	}
	route := hwabstraction.HostRoute{
		Stamp: hwabstraction.Stamp{Owner: [16]byte{1}, Epoch: 1}, Address: netip.MustParseAddr("198.51.100.7"),
		Locator: haltest.FabricGateway4,
	}
	if res := hw.Device.Apply(t.Context(), []hwabstraction.Change{hwabstraction.Put(route)}); res[0].Err != nil {
		t.Fatal(res[0].Err)
	}
	copy(area.Bytes(), "kept")
	rig.Reopen(t)
	got, err := hw.Device.Rules(t.Context())
	if err != nil || len(got) != 1 || got[0].Rule != route {
		t.Errorf("after reopening: %+v, %v", got, err)
	}
	area, err = hw.Area("rest")
	if err != nil || string(area.Bytes()[:4]) != "kept" || area.Origin() != hwabstraction.RegionAdopted {
		t.Errorf("the area after reopening: %q, %v", area.Bytes()[:4], err)
	}
}

// shm makes a folder on a tmpfs that is gone after the test.
func shm(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "dpmip-detect-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	if _, err := Open(t.Context(), Config{Backend: Switchdev}); err == nil {
		t.Error("a backend that is not there was opened")
	}
	if checks := Doctor(ProbeConfig{}); len(checks) < 10 {
		t.Errorf("%d checks", len(checks))
	}
}
