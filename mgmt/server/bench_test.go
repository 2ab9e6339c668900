package server

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dpmip/dpmip/mgmt"
	"github.com/dpmip/dpmip/mgmt/inventory"
	"github.com/dpmip/dpmip/mgmt/store"
	"github.com/dpmip/dpmip/mgmt/store/bolt"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
	"github.com/dpmip/dpmip/mobility/wire"
)

// benchBatch is how many messages the transport hands over at once.
const benchBatch = 64

// benchWindow is how many registrations may wait for their answer: a Node holds
// only so many for one peer (registration.Config.MaxOpen).
const benchWindow = 4096

// replyCounter is a Sender that gives a token back for each accepted Reply.
type replyCounter struct{ tokens chan struct{} }

func (r *replyCounter) Send(_ context.Context, msgs []registration.Send) error {
	for i := range msgs {
		if b := msgs[i].Payload; b[2] == byte(wire.TypeReply) && b[6] == 0 {
			r.tokens <- struct{}{}
		}
	}
	return nil
}

// take waits until n more may be sent.
func (r *replyCounter) take(n int) {
	for range n {
		<-r.tokens
	}
}

// counted is a store that remembers what it was given.
type counted struct {
	store.Store
	batches [][]store.Write
}

func (c *counted) Apply(w []store.Write) error {
	c.batches = append(c.batches, w)
	return c.Store.Apply(w)
}

// benchVMs is how many VMs the binding cache holds.
const benchVMs = 50_000

// BenchmarkDurableRegistrations measures VMs that register again, in no order,
// at a management node that knows them all, each answered after it is durable;
// and beside it bbolt alone making the same transactions on a file with the
// same records. The ratio is what counts.
func BenchmarkDurableRegistrations(b *testing.B) {
	for b.Loop() {
		ours, c, known := registerAgain(b)
		alone := boltAlone(b, c, known)
		b.ReportMetric(benchVMs/ours.Seconds(), "registrations/s")
		b.ReportMetric(benchVMs/alone.Seconds(), "bbolt/s")
		b.ReportMetric(alone.Seconds()/ours.Seconds(), "ratio")
		b.ReportMetric(benchVMs/float64(len(c.batches)-known), "registrations/transaction")
	}
}

// registerAgain gives how long the second registrations took, the transactions
// of both rounds, and how many of them the first round made.
func registerAgain(b *testing.B) (time.Duration, *counted, int) {
	b.Helper()
	inv, err := inventory.Parse("bench.toml", []byte(labInventory))
	if err != nil {
		b.Fatal(err)
	}
	db := openBolt(b)
	defer db.Close()
	c := &counted{Store: db}
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	core, first, err := mgmt.New(time.Now(), mgmt.Config{Inventory: inv, Self: self, Key: key, Random: zeroes{}, Seed: 1}, nil)
	if err != nil {
		b.Fatal(err)
	}
	sender := &replyCounter{tokens: make(chan struct{}, benchWindow)}
	for range benchWindow {
		sender.tokens <- struct{}{}
	}
	loop := NewLoop(core, first, c, sender, slog.New(slog.DiscardHandler), NewMetrics(prometheus.NewRegistry()))
	ctx, cancel := context.WithCancel(context.Background())
	var tasks sync.WaitGroup
	tasks.Go(func() { _ = loop.Run(ctx) })
	defer func() { cancel(); tasks.Wait() }()
	order := make([]int, benchVMs)
	for i := range order {
		order[i] = i
	}
	register := func() time.Duration {
		batches := requests(b, order)
		start := time.Now()
		for _, batch := range batches {
			sender.take(len(batch))
			loop.Handle(ctx, batch)
		}
		sender.take(benchWindow)
		took := time.Since(start)
		for range benchWindow {
			sender.tokens <- struct{}{}
		}
		return took
	}
	register()
	known := len(c.batches)
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	took := register()
	if bindings, _ := core.Size(); bindings != benchVMs {
		b.Fatalf("%d bindings of %d", bindings, benchVMs)
	}
	return took, c, known
}

func openBolt(b *testing.B) *bolt.Store {
	b.Helper()
	db, err := bolt.Open(filepath.Join(b.TempDir(), fmt.Sprint(time.Now().UnixNano())))
	if err != nil {
		b.Fatal(err)
	}
	return db
}

// requests makes the messages of the numbered VMs' registrations.
func requests(b *testing.B, order []int) [][]registration.Inbound {
	b.Helper()
	at := netip.MustParseAddr(hostA)
	var node *registration.Node
	var batches [][]registration.Inbound
	var batch []registration.Inbound
	for n, i := range order {
		if n%benchWindow == 0 { // a Node has only so many Requests under way
			var err error
			node, err = registration.NewNode(registration.Config{Role: registration.RoleHypervisor, Self: at, Management: []netip.Addr{self}, Seed: uint64(n)})
			if err != nil {
				b.Fatal(err)
			}
		}
		a := at.As16()
		a[7], a[13], a[14], a[15] = 1, byte(i>>16), byte(i>>8), byte(i)
		r := registration.Request{VM: mobility.NAI(fmt.Sprintf("vm%06d@dc1.example", i)), MAC: mobility.MAC{2, 0, 0, byte(i >> 16), byte(i >> 8), byte(i)},
			Handoff: mobility.HandoffNew, Lifetime: 100, Slots: []netip.Addr{netip.AddrFrom16(a)}}
		for _, e := range node.Submit(time.Now(), registration.Token(n+1), self, r, nil) {
			if s, ok := e.(registration.Send); ok {
				m := &wire.Message{}
				if err := m.Parse(s.Payload); err != nil {
					b.Fatal(err)
				}
				batch = append(batch, registration.Inbound{From: at, Message: m, Bytes: s.Payload, Auth: registration.AuthOK})
			}
		}
		if len(batch) == benchBatch || n == len(order)-1 {
			batches, batch = append(batches, batch), nil
		}
	}
	return batches
}

// boltAlone makes the transactions once more and times those after the first
// round.
func boltAlone(b *testing.B, c *counted, known int) time.Duration {
	b.Helper()
	db := openBolt(b)
	defer db.Close()
	var start time.Time
	for i, w := range c.batches {
		if i == known {
			start = time.Now()
		}
		if err := db.Apply(w); err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(start)
}
