package server

import (
	"context"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dpmip/dpmip/mgmt"
)

// Metrics are what the management node tells Prometheus.
type Metrics struct {
	requests    *prometheus.CounterVec // Requests of hypervisors, by what became of them
	messages    *prometheus.CounterVec // own Requests, by kind and what became of them
	moves       *prometheus.CounterVec
	peers       *prometheus.CounterVec
	names       *prometheus.CounterVec // orders for the DNS
	claims      *prometheus.CounterVec // of what another has
	events      *prometheus.CounterVec // of the conversations
	proofs      *prometheus.CounterVec
	budgets     *prometheus.CounterVec
	storeErrors prometheus.Counter
	batch       prometheus.Histogram
	latency     prometheus.Histogram
	ready       prometheus.Histogram
	named       prometheus.Histogram
}

// NewMetrics registers the metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	m := &Metrics{
		requests:    vec("dpmip_mgmt_requests_total", "Requests of hypervisors by result: accepted or refused, and as what or with which status.", "result", "detail"),
		messages:    vec("dpmip_mgmt_messages_total", "Requests to hypervisors and routers by kind and result.", "kind", "result"),
		moves:       vec("dpmip_mgmt_moves_total", "Moves by what became of them.", "event"),
		peers:       vec("dpmip_mgmt_peer_events_total", "Peers that came up, went down or restarted.", "peer", "event"),
		names:       vec("dpmip_mgmt_names_total", "Orders for the DNS that have ended: proved at every server, or troubled.", "result"),
		claims:      vec("dpmip_mgmt_claims_total", "Requests for an address that another VM has, or for a VM that another hypervisor serves, by who sent them: an alarm.", "hypervisor", "of"),
		events:      vec("dpmip_mgmt_registration_events_total", "Events of the conversations, drops among them.", "event"),
		proofs:      vec("dpmip_mgmt_proofs_total", "Proofs that the network is ready, by kind and what became of them.", "kind", "result"),
		budgets:     vec("dpmip_mgmt_budget_events_total", "Addresses that gave way at a full router, or were routed again; overbooked: nobody could give way.", "router", "event"),
		storeErrors: prometheus.NewCounter(prometheus.CounterOpts{Name: "dpmip_mgmt_store_errors_total", Help: "Transactions of the store that failed."}),
		batch:       prometheus.NewHistogram(prometheus.HistogramOpts{Name: "dpmip_mgmt_store_batch_commits", Help: "Commits in one transaction of the store.", Buckets: prometheus.ExponentialBuckets(1, 4, 7)}),
		latency:     prometheus.NewHistogram(prometheus.HistogramOpts{Name: "dpmip_mgmt_store_seconds", Help: "How long a transaction of the store takes.", Buckets: prometheus.ExponentialBuckets(0.0001, 4, 9)}),
		ready:       prometheus.NewHistogram(prometheus.HistogramOpts{Name: "dpmip_mgmt_move_ready_seconds", Help: "From the asking for a move to its being ready.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 14)}),
	}
	m.named = prometheus.NewHistogram(prometheus.HistogramOpts{Name: "dpmip_mgmt_names_proved_seconds", Help: "From an order for the DNS to its proof at every server.", Buckets: prometheus.ExponentialBuckets(0.005, 2, 16)})
	r.MustRegister(m.named, m.requests, m.messages, m.moves, m.peers, m.names, m.claims, m.events, m.proofs, m.budgets, m.storeErrors, m.batch, m.latency, m.ready)
	return m
}

func (m *Metrics) count(c mgmt.Count) {
	switch c.Name {
	case "requests_accepted":
		m.requests.WithLabelValues("accepted", c.Label).Inc()
	case "requests_refused":
		m.requests.WithLabelValues("refused", c.Label).Inc()
	case "messages_sent":
		m.messages.WithLabelValues(c.Label, "sent").Inc()
	case "messages_answered":
		m.messages.WithLabelValues(c.Label, "answered").Inc()
	case "messages_refused":
		m.messages.WithLabelValues(c.Label, "refused").Inc()
	case "moves":
		m.moves.WithLabelValues(c.Label).Inc()
	case "peer_up":
		m.peers.WithLabelValues(c.Label, "up").Inc()
	case "peer_down":
		m.peers.WithLabelValues(c.Label, "down").Inc()
	case "peer_restarted":
		m.peers.WithLabelValues(c.Label, "restarted").Inc()
	case "names":
		m.names.WithLabelValues(c.Label).Inc()
	case "proofs":
		kind, result, _ := strings.Cut(c.Label, "/")
		m.proofs.WithLabelValues(kind, result).Inc()
	case "gave_way", "routed_again", "overbooked":
		m.budgets.WithLabelValues(c.Label, c.Name).Inc()
	case "claims":
		at := strings.LastIndex(c.Label, "/")
		m.claims.WithLabelValues(c.Label[:at], c.Label[at+1:]).Inc()
	case "store_failures":
		m.storeErrors.Inc()
	default:
		m.events.WithLabelValues(c.Name).Inc()
	}
}

func (m *Metrics) written(commits int, took time.Duration) {
	m.batch.Observe(float64(commits))
	m.latency.Observe(took.Seconds())
}

// moveChanged takes the time to readiness once, at the change that says so.
func (m *Metrics) moveChanged(mv *mgmt.Move) {
	if n := len(mv.Phases); n > 1 && mv.Phases[n-1].Name == mgmt.PhaseReady {
		m.ready.Observe(mv.Phases[n-1].At.Sub(mv.Phases[0].At).Seconds())
	}
}

// gauges reads sizes from the loop when asked.
type gauges struct {
	loop                        *Loop
	bindings, moves, outbox, up *prometheus.Desc
	namesPending, namesTroubled *prometheus.Desc
	lingering                   *prometheus.Desc
	gaveWay                     *prometheus.Desc
}

// Gauges makes a collector of sizes that are read from the loop at each scrape.
func Gauges(l *Loop) prometheus.Collector {
	return &gauges{loop: l,
		bindings:      prometheus.NewDesc("dpmip_mgmt_bindings", "Entries of the binding cache.", nil, nil),
		moves:         prometheus.NewDesc("dpmip_mgmt_move_records", "Records of moves, ended ones included.", nil, nil),
		outbox:        prometheus.NewDesc("dpmip_mgmt_outbox_messages", "Requests to a peer that are not answered yet.", []string{"peer"}, nil),
		namesPending:  prometheus.NewDesc("dpmip_mgmt_names_pending", "VMs whose last order for the DNS has not ended.", nil, nil),
		namesTroubled: prometheus.NewDesc("dpmip_mgmt_names_troubled", "VMs that the DNS is not known to be right about, and why is known: an alarm.", nil, nil),
		gaveWay:       prometheus.NewDesc("dpmip_mgmt_gave_way", "Addresses of routed moves that are translated because the router has no room.", []string{"router"}, nil),
		lingering:     prometheus.NewDesc("dpmip_mgmt_lingering_routes", "Host routes of VMs that are gone which an observer has not lost in time: an alarm.", nil, nil),
		up:            prometheus.NewDesc("dpmip_mgmt_peer_up", "1 while the peer answers heartbeats.", []string{"peer"}, nil),
	}
}

func (g *gauges) Describe(ch chan<- *prometheus.Desc) {
	ch <- g.bindings
	ch <- g.moves
	ch <- g.outbox
	ch <- g.up
	ch <- g.namesPending
	ch <- g.namesTroubled
	ch <- g.lingering
	ch <- g.gaveWay
}

// scrapeWait bounds how long a scrape waits for the loop.
const scrapeWait = 5 * time.Second

func (g *gauges) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeWait)
	defer cancel()
	var bindings, moves, pending, troubled, lingering int
	var peers map[string]*mgmt.PeerView
	gaveWay := map[string]int{}
	if err := g.loop.Do(ctx, func(c *mgmt.Core) {
		bindings, moves = c.Size()
		peers = c.Peers()
		for name := range c.Inventory().Routers {
			if p := peers[name]; p != nil {
				gaveWay[name] = p.GaveWay
			}
		}
		pending, troubled = c.NamesPending(), len(c.NamesTrouble())
		lingering = len(c.Lingering())
	}); err != nil {
		ch <- prometheus.NewInvalidMetric(g.bindings, err)
		return
	}
	ch <- prometheus.MustNewConstMetric(g.bindings, prometheus.GaugeValue, float64(bindings))
	ch <- prometheus.MustNewConstMetric(g.moves, prometheus.GaugeValue, float64(moves))
	ch <- prometheus.MustNewConstMetric(g.namesPending, prometheus.GaugeValue, float64(pending))
	ch <- prometheus.MustNewConstMetric(g.namesTroubled, prometheus.GaugeValue, float64(troubled))
	for name, n := range gaveWay {
		ch <- prometheus.MustNewConstMetric(g.gaveWay, prometheus.GaugeValue, float64(n), name)
	}
	ch <- prometheus.MustNewConstMetric(g.lingering, prometheus.GaugeValue, float64(lingering))
	for name, p := range peers {
		up := 0.0
		if p.Up {
			up = 1
		}
		ch <- prometheus.MustNewConstMetric(g.up, prometheus.GaugeValue, up, name)
		ch <- prometheus.MustNewConstMetric(g.outbox, prometheus.GaugeValue, float64(p.Outbox), name)
	}
}
