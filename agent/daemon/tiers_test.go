package daemon

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/haltest"
	"github.com/dpmip/dpmip/offload"
)

// tiered is a device with a fast path that fares as it is told.
type tiered struct {
	hwabstraction.Device
	now hwabstraction.Tiers
	err error
}

func (d *tiered) Tiers(context.Context) (hwabstraction.Tiers, error) { return d.now, d.err }

func TestTiers(t *testing.T) {
	dev := haltest.NewChaos(haltest.Plan{})
	r := newRig(t, dev, newMemory(1<<20), filepath.Join(t.TempDir(), "agent.db"))
	r.attach(vm1, old6)
	d := &tiered{Device: dev, now: hwabstraction.Tiers{
		Filters: map[string]int{"hardware": 3}, Rungs: map[string]int{"kernel, conntrack": 2}, Events: map[string]uint64{"healed": 5},
		VMs: []hwabstraction.Share{{Owner: offload.Owner(vm1), Fast: 100, Slow: 7, Hardware: 90}, {Owner: [16]byte{0xab}, Fast: 1}},
	}}
	reg := prometheus.NewRegistry()
	WatchTiers(reg, d, r.loop)
	want := map[string]float64{
		"dpmip_agent_offload_filters hardware":                                   3,
		"dpmip_agent_offload_units kernel, conntrack":                            2,
		"dpmip_agent_offload_events_total healed":                                5,
		"dpmip_agent_vm_packets_total fast " + vm1.String():                      100,
		"dpmip_agent_vm_packets_total slow " + vm1.String():                      7,
		"dpmip_agent_vm_hardware_packets_total " + vm1.String():                  90,
		"dpmip_agent_vm_hardware_packets_total ab000000000000000000000000000000": 0,
		"dpmip_agent_vm_packets_total fast ab000000000000000000000000000000":     1,
		"dpmip_agent_vm_packets_total slow ab000000000000000000000000000000":     0,
	}
	if diff := cmp.Diff(want, gathered(t, reg)); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
	d.err = errors.New("the port is gone")
	if _, err := reg.Gather(); err == nil {
		t.Error("a device that cannot be read was no error")
	}
	plain := prometheus.NewRegistry()
	WatchTiers(plain, dev, r.loop)
	if got := gathered(t, plain); len(got) > 0 {
		t.Errorf("a device without a fast path has %v", got)
	}
}

// gathered are metrics by name and the values of their labels.
func gathered(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			name := f.GetName()
			for _, l := range m.Label {
				name += " " + l.GetValue()
			}
			out[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return out
}
