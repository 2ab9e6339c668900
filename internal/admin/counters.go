package admin

import "github.com/prometheus/client_golang/prometheus"

// counters exports a snapshot of named counters as one metric.
type counters struct {
	desc *prometheus.Desc
	read func() map[string]uint64
}

// Counters makes a collector of a map of counters whose names are known only
// when it is read; they become the label "event".
func Counters(name, help string, read func() map[string]uint64) prometheus.Collector {
	return counters{desc: prometheus.NewDesc(name, help, []string{"event"}, nil), read: read}
}

func (c counters) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

func (c counters) Collect(ch chan<- prometheus.Metric) {
	for event, n := range c.read() {
		ch <- prometheus.MustNewConstMetric(c.desc, prometheus.CounterValue, float64(n), event)
	}
}
