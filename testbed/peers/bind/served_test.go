package bind_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dpmip/dpmip/dnsupdate"
	"github.com/dpmip/dpmip/mgmt"
	"github.com/dpmip/dpmip/mgmt/inventory"
	"github.com/dpmip/dpmip/mgmt/server"
	"github.com/dpmip/dpmip/mgmt/store"
	"github.com/dpmip/dpmip/mgmt/store/bolt"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
	"github.com/dpmip/dpmip/mobility/wire"
)

// served is a management node with its store, its loop and its names, the
// hypervisors a and b, which agree to everything, and BIND.
type served struct {
	b    *testing.B
	loop *server.Loop
	to   chan registration.Send

	mu    sync.Mutex // guards hosts and what they know
	hosts map[netip.Addr]*agreeing
}

// agreeing is a hypervisor; tickets are those of moves to it.
type agreeing struct {
	at      netip.Addr
	node    *registration.Node
	token   registration.Token
	tickets map[mobility.VMID]registration.Request
	given   map[mobility.VMID][]mobility.Delivery
}

var mgmtAt, hostA, hostB = netip.MustParseAddr("2001:db8:f::1"), netip.MustParseAddr("2001:db8:a::1"), netip.MustParseAddr("2001:db8:b::1")

func servedInventory(b *testing.B, vms int) *inventory.Inventory {
	var text strings.Builder
	for _, h := range []string{"a", "b"} {
		fmt.Fprintf(&text, "[[hypervisor]]\nname = %[1]q\nlocators = [\"2001:db8:%[1]s::1\"]\nranges = [\"2001:db8:%[1]s:1::/64\"]\npools = [\"2001:db8:%[1]s:d::/64\"]\n", h)
	}
	for i := range vms {
		fmt.Fprintf(&text, "[[vm]]\nid = \"vm%[1]d@dc1.example\"\nservices = { names = [{ name = \"vm%[1]d.%[2]s\" }], reverse = \"vm%[1]d.%[2]s\" }\n", i, forward)
	}
	inv, err := inventory.Parse("bench.toml", []byte(text.String()))
	if err != nil {
		b.Fatal(err)
	}
	return inv
}

func serve(b *testing.B, p *pair, vms int) *served {
	inv := servedInventory(b, vms)
	s := &served{b: b, to: make(chan registration.Send, 1<<16), hosts: map[netip.Addr]*agreeing{}}
	for _, at := range []netip.Addr{hostA, hostB} {
		node, err := registration.NewNode(registration.Config{Role: registration.RoleHypervisor, Self: at, Management: []netip.Addr{mgmtAt}, Seed: 1, Heartbeat: -1})
		if err != nil {
			b.Fatal(err)
		}
		s.hosts[at] = &agreeing{at: at, node: node, tickets: map[mobility.VMID]registration.Request{}, given: map[mobility.VMID][]mobility.Delivery{}}
	}
	st, err := bolt.Open(filepath.Join(b.TempDir(), "mgmt.db"))
	if err != nil {
		b.Fatal(err)
	}
	var records []mgmt.Record
	if err := st.Load(func(r store.Record) error { records = append(records, r); return nil }); err != nil {
		b.Fatal(err)
	}
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	core, first, err := mgmt.New(time.Now(), mgmt.Config{Inventory: inv, Self: mgmtAt, Key: key, Random: rand.Reader, Seed: 1}, records)
	if err != nil {
		b.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	s.loop = server.NewLoop(core, first, st, s, log, server.NewMetrics(prometheus.NewRegistry()))
	c := p.client()
	n := server.NewNames(s.loop, c, dnsupdate.NewDirectory(c, primaryPort, zones(b, p.mgmt)), dnsupdate.Timing{}, log)
	s.loop.UseNames(n)
	ctx, cancel := context.WithCancel(context.Background())
	var tasks sync.WaitGroup
	tasks.Go(func() { _ = s.loop.Run(ctx) })
	tasks.Go(func() { _ = n.Run(ctx) })
	tasks.Go(func() { s.carry(ctx) })
	b.Cleanup(func() { cancel(); tasks.Wait(); _ = st.Close() })
	<-s.loop.Ready()
	return s
}

// Send implements server.Sender; what does not fit is lost and repeated.
func (s *served) Send(_ context.Context, msgs []registration.Send) error {
	for _, m := range msgs {
		select {
		case s.to <- m:
		default:
		}
	}
	return nil
}

// carry brings messages to the hypervisors, and their answers back.
func (s *served) carry(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-s.to:
			s.mu.Lock()
			h := s.hosts[m.To]
			out := h.do(h.node.Receive(time.Now(), inbound(s.b, mgmtAt, m.Payload), nil))
			s.mu.Unlock()
			s.handle(ctx, h.at, out)
		}
	}
}

func inbound(b *testing.B, from netip.Addr, payload []byte) registration.Inbound {
	m := &wire.Message{}
	if err := m.Parse(payload); err != nil {
		b.Error(err)
	}
	return registration.Inbound{From: from, Message: m, Bytes: payload, Auth: registration.AuthOK}
}

func (s *served) handle(ctx context.Context, from netip.Addr, msgs [][]byte) {
	var batch []registration.Inbound
	for _, m := range msgs {
		batch = append(batch, inbound(s.b, from, m))
	}
	if len(batch) > 0 {
		s.loop.Handle(ctx, batch)
	}
}

// do agrees to everything; a PREPARE gets delivery addresses.
func (h *agreeing) do(effects []registration.Effect) (out [][]byte) {
	for _, e := range effects {
		switch e := e.(type) {
		case registration.Send:
			out = append(out, e.Payload)
		case registration.Ask:
			r := registration.Reply{Lifetime: e.Request.Lifetime, Epoch: e.Request.Epoch}
			if !e.Request.Ticket.IsZero() {
				r.Deliveries = h.deliveries(e.Request.Pairs)
				h.tickets[e.Request.VM], h.given[e.Request.VM] = e.Request, r.Deliveries
			}
			out = append(out, h.do(h.node.Answer(time.Now(), e.Handle, r, nil))...)
		}
	}
	return out
}

func (h *agreeing) deliveries(pairs []mobility.Pair) (list []mobility.Delivery) {
	for _, p := range pairs {
		d, old := h.at.As16(), p.Old.As16()
		copy(d[6:], []byte{0, 0xd})
		copy(d[8:], old[8:])
		list = append(list, mobility.Delivery{Old: p.Old, D: netip.AddrFrom16(d)})
	}
	return list
}

// submit sends a hypervisor's Request.
func (s *served) submit(h *agreeing, r registration.Request) {
	s.mu.Lock()
	h.token++
	r.CareOf = h.at
	out := h.do(h.node.Submit(time.Now(), h.token, mgmtAt, r, nil))
	s.mu.Unlock()
	s.handle(s.b.Context(), h.at, out)
}

func servedVM(i int) mobility.VMID { return mobility.NAI(fmt.Sprintf("vm%d@dc1.example", i)) }

// commit sends the COMMIT of every VM whose move is ready, with a new address.
func (s *served) commit(h *agreeing, vms int, done map[int]bool) {
	s.b.Helper()
	ready := map[mobility.VMID]bool{}
	err := s.loop.Do(s.b.Context(), func(c *mgmt.Core) {
		for i := range vms {
			m := c.Move(servedVM(i), 0)
			ready[servedVM(i)] = m != nil && m.State == mgmt.MoveReady
		}
	})
	if err != nil {
		s.b.Fatal(err)
	}
	for i := range vms {
		vm := servedVM(i)
		if done[i] || !ready[vm] {
			continue
		}
		s.mu.Lock()
		q, given := h.tickets[vm], h.given[vm]
		s.mu.Unlock()
		done[i] = true
		s.submit(h, registration.Request{VM: vm, Handoff: mobility.HandoffMove, Lifetime: 900, Epoch: q.Epoch, Ticket: q.Ticket, Deliveries: given,
			Slots: []netip.Addr{slot("b", i)}})
	}
}

func slot(host string, i int) netip.Addr {
	return netip.MustParseAddr(fmt.Sprintf("2001:db8:%s:1::%x", host, i+1))
}

// await polls the loop until ok.
func (s *served) await(what string, ok func(*mgmt.Core) bool) {
	s.b.Helper()
	for end := time.Now().Add(2 * deadline); ; <-time.After(5 * time.Millisecond) {
		met := false
		if err := s.loop.Do(s.b.Context(), func(c *mgmt.Core) { met = ok(c) }); err != nil {
			s.b.Fatal(err)
		}
		if met {
			return
		}
		if time.Now().After(end) {
			s.b.Fatalf("not %s in time", what)
		}
	}
}

// BenchmarkEvacuateServed evacuates a hypervisor with 1000 VMs that get new
// addresses: from the command until every move has committed, and until every
// name is proved at both servers.
func BenchmarkEvacuateServed(b *testing.B) {
	const vms = 1000
	var committed, proved time.Duration
	for b.Loop() {
		b.StopTimer()
		p := start(b, nil)
		s := serve(b, p, vms)
		for i := range vms {
			s.submit(s.hosts[hostA], registration.Request{VM: servedVM(i), Handoff: mobility.HandoffNew, Lifetime: 900, Slots: []netip.Addr{slot("a", i)}})
		}
		s.await("all names published", func(c *mgmt.Core) bool { n, _ := c.Size(); return n == vms && c.NamesPending() == 0 })
		b.StartTimer()
		began := time.Now()
		o := mobility.MoveOptions{Addresses: mobility.AddressesRenumber}
		d, err := s.loop.Command(b.Context(), func(id mgmt.CommandID) mgmt.Event { return mgmt.Evacuate{ID: id, Hypervisor: "a", Options: o} })
		if err != nil || len(d.Problems) > 0 {
			b.Fatal(err, d.Problems)
		}
		done := map[int]bool{}
		for end := began.Add(2 * deadline); len(done) < vms; {
			s.commit(s.hosts[hostB], vms, done)
			if time.Now().After(end) {
				b.Fatalf("%d of %d moves have committed", len(done), vms)
			}
		}
		s.await("all committed", func(c *mgmt.Core) bool { return len(c.Bindings("b", "", 0)) == vms })
		committed += time.Since(began)
		s.await("all names proved", func(c *mgmt.Core) bool {
			return len(c.Bindings("b", "", 0)) == vms && c.NamesPending() == 0 && len(c.NamesTrouble()) == 0
		})
		proved += time.Since(began)
	}
	b.ReportMetric(committed.Seconds()/float64(b.N), "s-to-committed")
	b.ReportMetric(proved.Seconds()/float64(b.N), "s-to-proved")
}
