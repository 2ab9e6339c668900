package daemon

import (
	"context"
	"maps"
	"math"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dpmip/dpmip/agent"
	"github.com/dpmip/dpmip/agent/bul"
	"github.com/dpmip/dpmip/internal/admin"
)

// Metrics are the agent's own figures.
type Metrics struct {
	switches *prometheus.HistogramVec
	failed   *prometheus.CounterVec

	mu     sync.Mutex // guards counts
	counts map[string]uint64
}

// NewMetrics registers the metrics.
func NewMetrics(reg *prometheus.Registry) *Metrics {
	m := &Metrics{
		counts: make(map[string]uint64),
		switches: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "dpmip_agent_switch_seconds", Help: "Time that the device took to arm or activate a group.",
			Buckets: prometheus.ExponentialBuckets(1e-6, 4, 10),
		}, []string{"op"}),
		failed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "dpmip_agent_switch_failed_total", Help: "Groups that the device did not arm or activate.",
		}, []string{"op"}),
	}
	reg.MustRegister(m.switches, m.failed, admin.Counters("dpmip_agent_events_total", "What happened in the agent, by event.", m.snapshot))
	return m
}

// Watch adds the figures of the binding update list, which the loop is asked
// for whenever somebody looks.
func Watch(reg *prometheus.Registry, l *Loop, r *Records) {
	gauge := func(name, help string, of func(bul.Stats) int) {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			s, err := l.Stats(ctx, r)
			if err != nil {
				return math.NaN()
			}
			return float64(of(s))
		}))
	}
	gauge("dpmip_agent_bul_entries", "VMs in the binding update list.", func(s bul.Stats) int { return s.Entries })
	gauge("dpmip_agent_bul_cells", "Cells of the region's list.", func(s bul.Stats) int { return s.Cells })
	gauge("dpmip_agent_bul_torn", "Damaged entries that this agent threw away when it opened the list.", func(s bul.Stats) int { return s.Torn })
	gauge("dpmip_agent_bul_cells_used", "Cells in use.", func(s bul.Stats) int { return s.UsedCells })
}

func (m *Metrics) count(name string) {
	m.mu.Lock()
	m.counts[name]++
	m.mu.Unlock()
}

func (m *Metrics) snapshot() map[string]uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.counts)
}

func (m *Metrics) switched(op agent.SwitchOp, r agent.Result) {
	m.switches.WithLabelValues(op.String()).Observe(r.Took.Seconds())
	if r.Err != nil {
		m.failed.WithLabelValues(op.String()).Inc()
	}
}
