package router

import "github.com/prometheus/client_golang/prometheus"

// Metrics are what a router tells Prometheus.
type Metrics struct {
	routes      prometheus.Gauge
	mended      prometheus.Counter
	storeErrors prometheus.Counter
	messages    *prometheus.CounterVec
	limit       prometheus.Gauge
	refused     *prometheus.CounterVec
}

// NewMetrics registers a router's metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		routes:      prometheus.NewGauge(prometheus.GaugeOpts{Name: "dpmip_router_host_routes", Help: "Host routes held for VMs."}),
		mended:      prometheus.NewCounter(prometheus.CounterOpts{Name: "dpmip_router_host_routes_mended_total", Help: "Host routes put right after the kernel or somebody else changed them."}),
		storeErrors: prometheus.NewCounter(prometheus.CounterOpts{Name: "dpmip_router_store_errors_total", Help: "Failed writes of the route file."}),
		messages:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "dpmip_router_messages_total", Help: "Mobility Header messages by what became of them."}, []string{"event"}),
		limit:       prometheus.NewGauge(prometheus.GaugeOpts{Name: "dpmip_router_host_routes_limit", Help: "Host routes that may be held; one more is answered 130."}),
		refused:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "dpmip_router_refused_total", Help: "Requests refused, by status."}, []string{"status"}),
	}
	r.MustRegister(m.routes, m.mended, m.storeErrors, m.messages, m.limit, m.refused)
	return m
}

func (m *Metrics) setRoutes(n int) { m.routes.Set(float64(n)) }
