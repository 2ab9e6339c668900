package daemon

import (
	"context"
	"encoding/hex"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/offload"
)

// tiersLimit bounds how long a scrape waits for the device.
const tiersLimit = 2 * time.Second

// WatchTiers adds the figures of a device with a fast path, which is read
// whenever somebody looks. Of any other device there are none.
func WatchTiers(reg *prometheus.Registry, d hwabstraction.Device, l *Loop) {
	if t, ok := d.(hwabstraction.Tiered); ok {
		reg.MustRegister(&tiers{
			device: t, loop: l,
			filters:  prometheus.NewDesc("dpmip_agent_offload_filters", "Filters that take packets, by where they are.", []string{"where"}, nil),
			rungs:    prometheus.NewDesc("dpmip_agent_offload_units", "VMs and VM ports, by how much of them is fast.", []string{"rung"}, nil),
			events:   prometheus.NewDesc("dpmip_agent_offload_events_total", "What happened to filters since the agent's start, by event.", []string{"event"}, nil),
			packets:  prometheus.NewDesc("dpmip_agent_vm_packets_total", "Packets of a VM's present rules, by path.", []string{"vm", "path"}, nil),
			hardware: prometheus.NewDesc("dpmip_agent_vm_hardware_packets_total", "Packets of a VM's present rules on the fast path that hardware has counted.", []string{"vm"}, nil),
		})
	}
}

// tiers collects them.
type tiers struct {
	device                                    hwabstraction.Tiered
	loop                                      *Loop
	filters, rungs, events, packets, hardware *prometheus.Desc
}

func (t *tiers) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{t.filters, t.rungs, t.events, t.packets, t.hardware} {
		ch <- d
	}
}

func (t *tiers) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), tiersLimit)
	defer cancel()
	now, err := t.device.Tiers(ctx)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(t.filters, err)
		return
	}
	for where, n := range now.Filters {
		ch <- prometheus.MustNewConstMetric(t.filters, prometheus.GaugeValue, float64(n), where)
	}
	for rung, n := range now.Rungs {
		ch <- prometheus.MustNewConstMetric(t.rungs, prometheus.GaugeValue, float64(n), rung)
	}
	for event, n := range now.Events {
		ch <- prometheus.MustNewConstMetric(t.events, prometheus.CounterValue, float64(n), event)
	}
	names := t.names(ctx)
	for _, s := range now.VMs {
		name, ok := names[s.Owner]
		if !ok { // a VM that has just gone, or the loop is ending
			name = hex.EncodeToString(s.Owner[:])
		}
		ch <- prometheus.MustNewConstMetric(t.packets, prometheus.CounterValue, float64(s.Fast), name, "fast")
		ch <- prometheus.MustNewConstMetric(t.packets, prometheus.CounterValue, float64(s.Slow), name, "slow")
		ch <- prometheus.MustNewConstMetric(t.hardware, prometheus.CounterValue, float64(s.Hardware), name)
	}
}

// names are the VMs by their owner hash.
func (t *tiers) names(ctx context.Context) map[[16]byte]string {
	views, err := t.loop.Views(ctx)
	if err != nil {
		return nil
	}
	out := make(map[[16]byte]string, len(views))
	for _, v := range views {
		out[offload.Owner(v.VM)] = v.VM.String()
	}
	return out
}
