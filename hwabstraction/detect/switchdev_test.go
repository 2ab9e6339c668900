package detect

import (
	"context"
	"flag"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/haltest"
	"github.com/dpmip/dpmip/hwabstraction/software"
	"github.com/dpmip/dpmip/hwabstraction/switchdev"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/tc"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/ways"
)

var flowerHere = flag.Bool("flower", false, "run the tests that need flower and act_ct in this kernel")

// fastRig is a fast path in front of the software backend, on real ports.
type fastRig struct {
	haltest.World
	dev   *switchdev.Device // the present one
	table *tc.Conn
	ports []int32 // that filters may be on
}

// Send lets the fast path settle first, so that it is what the suite tests.
func (r *fastRig) Send(t testing.TB, port string, frame []byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := r.dev.Settle(ctx); err != nil {
		t.Fatalf("the fast path does not settle: %v", err)
	}
	r.World.Send(t, port, frame)
}

// open builds the two devices.
func (r *fastRig) open(t testing.TB, e haltest.Env) (hwabstraction.Device, error) {
	if r.dev != nil {
		r.dev.Halt() // the process is dead
	}
	slow, err := software.Open(software.Config{
		NetNS: e.NetNS, BPFDir: e.BPFFS, Fabric: []string{e.Fabric}, Attach: software.AttachClsBPF,
		Place: software.Place{Priority: switchdev.SlowPriority, Chain: switchdev.SlowChain}, MaxRules: 1024, MaxFlows: 1024, Audit: 100 * time.Millisecond,
	})
	if err != nil {
		return nil, err
	}
	table, err := tc.Dial(e.NetNS)
	if err != nil {
		return nil, err
	}
	kernel, err := ways.Open(e.NetNS, nil)
	if err != nil {
		return nil, err
	}
	d, err := switchdev.Open(slow, switchdev.Config{Fabric: []string{e.Fabric}, Table: table, Kernel: kernel, SkipHW: true})
	if err != nil {
		return nil, err
	}
	r.dev, r.table, r.ports = d, table, nil
	for _, name := range append([]string{e.Fabric}, e.VMPorts...) {
		p, err := kernel.Port(name)
		if err != nil {
			return nil, err
		}
		r.ports = append(r.ports, p.Index)
	}
	t.Cleanup(func() {
		d.Close()
		for what, n := range slow.Mended() {
			if n > 0 {
				t.Errorf("%s was mended %d times, and nobody had touched it", what, n)
			}
		}
		if err := kernel.Close(); err != nil {
			t.Error(err)
		}
		if err := table.Close(); err != nil {
			t.Error(err)
		}
	})
	return d, nil
}

// mustBeFast are checks of the suite whose packets are plain in part: if none of
// them was fast, the fast path was not tested.
var mustBeFast = []string{
	"forward/checksums_are_mended", "forward/counters_count", "groups/a_delivery_address_is_restored", "groups/a_redirect_acts_only_while_armed",
	"groups/activating_is_one_step_for_16_addresses", "guard/a_VM_sends_from_its_own_addresses_only",
	"hold/a_hold_keeps_packets_and_their_order", "policy/flows_seen_before_need_no_loading",
}

// fastPackets counts them by check.
type fastPackets struct {
	mu sync.Mutex // guards by
	by map[string]uint64
}

func (f *fastPackets) add(check string, n uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.by[check] += n
}

// TestSwitchdevConformance: the fast path changes nothing of what the contract
// says. It also looks that there was one.
func TestSwitchdevConformance(t *testing.T) {
	if !*flowerHere {
		t.Skip("make testbed-arm64 runs it, in a kernel that has flower")
	}
	fast := fastPackets{by: map[string]uint64{}}
	prefix := t.Name() + "/suite/"
	t.Run("suite", func(t *testing.T) {
		haltest.Run(t, func(t *testing.T) haltest.Rig {
			r := &fastRig{}
			rig := haltest.NewNamespaceRig(t, func(e haltest.Env) (hwabstraction.Device, error) { return r.open(t, e) })
			r.World = rig.World
			rig.World = r
			t.Cleanup(func() {
				tiers, err := r.dev.Tiers(context.Background())
				if err != nil {
					return // the test has closed the device
				}
				for _, s := range tiers.VMs {
					fast.add(strings.TrimPrefix(t.Name(), prefix), s.Fast)
				}
				if n := tiers.Events["stepped_down"]; n > 0 {
					t.Errorf("the kernel has refused filters, %d times", n)
				}
			})
			return rig
		})
	})
	t.Logf("fast packets: %v", fast.by)
	for _, check := range mustBeFast {
		for _, family := range []string{"4/", "6/"} {
			if n, ran := fast.by[family+check]; ran && n == 0 {
				t.Errorf("%s%s: no packet was fast", family, check)
			}
		}
	}
	if len(fast.by) == 0 {
		t.Error("no check had any filters")
	}
}
