package server

import (
	"context"
	"crypto/ed25519"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/dpmip/dpmip/api/dpmip/v1/dpmipv1connect"
	"github.com/dpmip/dpmip/mgmt"
	"github.com/dpmip/dpmip/mgmt/inventory"
	"github.com/dpmip/dpmip/mgmt/store"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
	"github.com/dpmip/dpmip/mobility/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var self = netip.MustParseAddr("2001:db8:f::1")

const labInventory = `
[[hypervisor]]
name = "a"
locators = ["2001:db8:a::1"]
ranges = ["2001:db8:a:1::/64"]
pools = ["2001:db8:a:d::/64"]
[[hypervisor]]
name = "b"
locators = ["2001:db8:b::1"]
ranges = ["2001:db8:b:1::/64"]
pools = ["2001:db8:b:d::/64"]
[policy]
allow_unknown_vms = true
[lifetimes]
grace = "1ms"
`

// lab is a running Loop with hypervisors that agree to everything.
type lab struct {
	t        *testing.T
	loop     *Loop
	registry *prometheus.Registry
	client   dpmipv1connect.ManagementServiceClient
	reports  dpmipv1connect.ReportServiceClient
	ctx      context.Context
	stop     context.CancelFunc // ends the loop

	mu    sync.Mutex // guards what follows
	hosts map[netip.Addr]*labHost
	queue chan registration.Send // to hosts
}

// labHost is one hypervisor; replies holds those to its own Requests.
type labHost struct {
	at      netip.Addr
	node    *registration.Node
	token   registration.Token
	replies chan registration.Reply
	ticket  mobility.Ticket
	given   []mobility.Delivery
}

// Send implements Sender: it must not wait for the hosts.
func (l *lab) Send(_ context.Context, msgs []registration.Send) error {
	for _, m := range msgs {
		select {
		case l.queue <- m:
		default: // a lost message
		}
	}
	return nil
}

func newLab(t *testing.T, s store.Store) *lab {
	t.Helper()
	inv, err := inventory.Parse("lab.toml", []byte(labInventory))
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, registry: prometheus.NewRegistry(), hosts: map[netip.Addr]*labHost{}, queue: make(chan registration.Send, 4096)}
	for _, h := range inv.Hypervisors {
		node, err := registration.NewNode(registration.Config{Role: registration.RoleHypervisor, Self: h.Locator(), Management: []netip.Addr{self}, Seed: 1})
		if err != nil {
			t.Fatal(err)
		}
		l.hosts[h.Locator()] = &labHost{at: h.Locator(), node: node, replies: make(chan registration.Reply, 1024)}
	}
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	core, first, err := mgmt.New(time.Now(), mgmt.Config{Inventory: inv, Self: self, Key: key, Random: rand.NewChaCha8([32]byte{1}), Seed: 1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	l.loop = NewLoop(core, first, s, l, slog.New(slog.DiscardHandler), NewMetrics(l.registry))
	l.registry.MustRegister(Gauges(l.loop))
	l.run()
	return l
}

// zeroes gives tickets that are the same each time, and not zero.
type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 7
	}
	return len(p), nil
}

// run starts loop, hosts and the admin interface until the test ends.
func (l *lab) run() {
	ctx, cancel := context.WithCancel(context.Background())
	l.ctx, l.stop = ctx, cancel
	var tasks sync.WaitGroup
	tasks.Go(func() { _ = l.loop.Run(ctx) })
	tasks.Go(func() { l.serveHosts(ctx) })
	<-l.loop.Ready()
	s := &Service{Loop: l.loop, Reread: func(context.Context) ([]string, error) { return []string{"nothing"}, nil }}
	mux := http.NewServeMux()
	mux.Handle(dpmipv1connect.NewManagementServiceHandler(s))
	mux.Handle(dpmipv1connect.NewReportServiceHandler(s))
	web := httptest.NewServer(mux)
	l.client = dpmipv1connect.NewManagementServiceClient(web.Client(), web.URL)
	l.reports = dpmipv1connect.NewReportServiceClient(web.Client(), web.URL)
	l.t.Cleanup(func() { web.Close(); cancel(); tasks.Wait() })
}

func (l *lab) serveHosts(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-l.queue:
			l.mu.Lock()
			h := l.hosts[m.To]
			out := h.do(h.node.Receive(time.Now(), l.inbound(self, m.Payload), nil))
			l.mu.Unlock()
			l.toManagement(h.at, out)
		}
	}
}

func (l *lab) inbound(from netip.Addr, b []byte) registration.Inbound {
	m := &wire.Message{}
	if err := m.Parse(b); err != nil {
		l.t.Error(err)
	}
	return registration.Inbound{From: from, Message: m, Bytes: b, Auth: registration.AuthOK}
}

func (l *lab) toManagement(from netip.Addr, msgs [][]byte) {
	var batch []registration.Inbound
	for _, b := range msgs {
		batch = append(batch, l.inbound(from, b))
	}
	if len(batch) > 0 {
		l.loop.Handle(l.ctx, batch)
	}
}

// do carries out a host's effects and gives the messages to send.
func (h *labHost) do(effects []registration.Effect) (out [][]byte) {
	for _, e := range effects {
		switch e := e.(type) {
		case registration.Send:
			out = append(out, e.Payload)
		case registration.Replied:
			h.replies <- e.Reply
		case registration.Ask:
			r := registration.Reply{Lifetime: e.Request.Lifetime, Epoch: e.Request.Epoch}
			if !e.Request.Ticket.IsZero() {
				h.ticket, h.given = e.Request.Ticket, nil
				for _, p := range e.Request.Pairs {
					d := h.at.As16()
					old := p.Old.As16()
					copy(d[6:], []byte{0, 0xd})
					copy(d[8:], old[8:])
					h.given = append(h.given, mobility.Delivery{Old: p.Old, D: netip.AddrFrom16(d)})
				}
				r.Deliveries = h.given
			}
			out = append(out, h.do(h.node.Answer(time.Now(), e.Handle, r, nil))...)
		}
	}
	return out
}

// submit sends Requests of a host, all at once.
func (l *lab) submit(host string, rs ...registration.Request) *labHost {
	at := netip.MustParseAddr(host)
	var out [][]byte
	l.mu.Lock()
	h := l.hosts[at]
	for _, r := range rs {
		h.token++
		r.CareOf = at
		out = append(out, h.do(h.node.Submit(time.Now(), h.token, self, r, nil))...)
	}
	l.mu.Unlock()
	l.toManagement(at, out)
	return h
}

func (l *lab) reply(h *labHost) registration.Reply {
	l.t.Helper()
	select {
	case r := <-h.replies:
		return r
	case <-time.After(30 * time.Second):
		l.t.Fatal("no reply")
		return registration.Reply{}
	}
}

const (
	hostA = "2001:db8:a::1"
	hostB = "2001:db8:b::1"
)

func register(vm, a string) registration.Request {
	return registration.Request{VM: mobility.NAI(vm), Handoff: mobility.HandoffNew, Lifetime: 10, Slots: []netip.Addr{netip.MustParseAddr(a)}}
}

// commit sends b's COMMIT for the prepared vm.
func (l *lab) commit(vm, a string, e mobility.Epoch) registration.Reply {
	l.t.Helper()
	r := register(vm, a)
	l.mu.Lock()
	h := l.hosts[netip.MustParseAddr(hostB)]
	r.Ticket, r.Deliveries = h.ticket, h.given
	l.mu.Unlock()
	r.Handoff, r.Epoch = mobility.HandoffMove, e
	return l.reply(l.submit(hostB, r))
}

// counter reads a counter by its name and the value of one of its labels.
func (l *lab) counter(name, label string) float64 {
	l.t.Helper()
	families, err := l.registry.Gather()
	if err != nil {
		l.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			found := label == ""
			for _, p := range m.GetLabel() {
				found = found || p.GetValue() == label
			}
			if f.GetName() == name && found {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}
