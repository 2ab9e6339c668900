package bgp

import "github.com/prometheus/client_golang/prometheus"

// Metrics are what a border router tells Prometheus.
type Metrics struct {
	announced, imported, importLimit prometheus.Gauge
	refused, listenMissing           prometheus.Gauge
	speakerErrors, installErrors     prometheus.Counter
	up                               *prometheus.GaugeVec
	flaps                            *prometheus.CounterVec
}

// NewMetrics registers a border router's metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "dpmip_bgp_" + name, Help: help})
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "dpmip_bgp_" + name, Help: help})
	}
	m := &Metrics{
		announced:     gauge("announced_routes", "Host routes given to at least one peer."),
		imported:      gauge("imported_routes", "Host routes taken from peers and in use."),
		importLimit:   gauge("imported_routes_limit", "Host routes that may be taken from peers."),
		refused:       gauge("refused_routes", "Routes of peers that policy refuses."),
		listenMissing: gauge("listen_missing", "Addresses to listen on that this node does not have (yet); until they come no session is tried."),
		speakerErrors: counter("speaker_errors_total", "Announcements or withdrawals that failed inside."),
		installErrors: counter("install_errors_total", "Imported host routes that the kernel did not take."),
		up:            prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "dpmip_bgp_session_up", Help: "1 while the session is established."}, []string{"peer"}),
		flaps:         prometheus.NewCounterVec(prometheus.CounterOpts{Name: "dpmip_bgp_session_flaps_total", Help: "Times that an established session went down."}, []string{"peer"}),
	}
	r.MustRegister(m.announced, m.imported, m.importLimit, m.refused, m.listenMissing, m.speakerErrors, m.installErrors, m.up, m.flaps)
	return m
}

func (m *Metrics) set(given int, t *Table) {
	m.announced.Set(float64(given))
	m.imported.Set(float64(t.Used()))
	m.importLimit.Set(float64(t.Limit()))
	m.refused.Set(float64(t.Refused()))
}
