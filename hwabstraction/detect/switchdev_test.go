package detect

import (
	"context"
	"flag"
	"sync/atomic"
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
	dev *switchdev.Device // the present one
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
	slow, err := software.Open(software.Config{
		NetNS: e.NetNS, BPFDir: e.BPFFS, Fabric: []string{e.Fabric}, Attach: software.AttachClsBPF,
		Place: software.Place{Priority: switchdev.SlowPriority, Chain: switchdev.SlowChain}, MaxRules: 1024, MaxFlows: 1024,
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
	if r.dev != nil {
		r.dev.Halt() // the process is dead
	}
	d, err := switchdev.Open(slow, switchdev.Config{Fabric: []string{e.Fabric}, Table: table, Kernel: kernel, SkipHW: true})
	if err != nil {
		return nil, err
	}
	r.dev = d
	t.Cleanup(func() {
		d.Close()
		if err := kernel.Close(); err != nil {
			t.Error(err)
		}
		if err := table.Close(); err != nil {
			t.Error(err)
		}
	})
	return d, nil
}

// TestSwitchdevConformance: the fast path changes nothing of what the contract
// says. It also looks that there was one.
func TestSwitchdevConformance(t *testing.T) {
	if !*flowerHere {
		t.Skip("make testbed-arm64 runs it, in a kernel that has flower")
	}
	var fast, slow atomic.Uint64
	t.Run("suite", func(t *testing.T) {
		haltest.Run(t, func(t *testing.T) haltest.Rig {
			r := &fastRig{}
			rig := haltest.NewNamespaceRig(t, func(e haltest.Env) (hwabstraction.Device, error) { return r.open(t, e) })
			r.World = rig.World
			rig.World = r
			t.Cleanup(func() {
				report, err := r.dev.Tiers(context.Background())
				if err != nil {
					return // the test has closed the device
				}
				for _, s := range report.VMs {
					fast.Add(s.Fast)
					slow.Add(s.Slow)
					t.Logf("FAST %d SLOW %d", s.Fast, s.Slow)
				}
				if report.Events["stepped_down"] > 0 {
					t.Errorf("the kernel has refused filters: %+v", report)
				}
			})
			return rig
		})
	})
	t.Logf("%d packets were fast, %d slow", fast.Load(), slow.Load())
	if fast.Load() < slow.Load() {
		t.Errorf("%d packets were fast, %d slow: the suite has hardly tested the fast path", fast.Load(), slow.Load())
	}
}
