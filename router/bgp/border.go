package bgp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/dpmip/dpmip/router"
)

// FIB is where imported routes go; router/fib implements it.
type FIB interface {
	router.FIB
	// Leftovers are the routes of an earlier process.
	Leftovers() ([]netip.Addr, error)
}

// Border is the border router's loop. Routes of the management node come by
// router.Announcer, routes of other data centres by Events; both are taken in at
// once and worked on in Run. Create it by NewBorder.
type Border struct {
	cfg     *Config
	policy  *Policy
	table   *Table
	speaker Speaker
	fib     FIB
	log     *slog.Logger
	metrics *Metrics
	resync  time.Duration
	ready   chan struct{}
	changed chan struct{}
	ask     chan func()

	speaks   bool    // the Speaker has started
	lack     float64 // addresses that it said are missing
	given    map[netip.Prefix]Announcement
	withheld map[netip.Prefix]withheld // why a held route is not announced
	ended    map[netip.Addr]bool       // peers that have sent End-of-RIB
	pruned   map[string]bool           // families whose leftovers are gone

	mu    sync.Mutex // guards inbox
	inbox []any      // in order: held, gone, []Update, endOfRIB, state
	wake  chan struct{}
}

type (
	held     []router.Route
	gone     []netip.Addr
	endOfRIB netip.Addr
	state    struct {
		peer        netip.Addr
		established bool
		reason      string
	}
	withheld struct {
		reason error
		since  time.Time
	}
)

// NewBorder wires a Border of a checked Config. The kernel's table is audited
// every resync.
func NewBorder(cfg *Config, s Speaker, f FIB, log *slog.Logger, m *Metrics, resync time.Duration) *Border {
	return &Border{
		cfg: cfg, policy: NewPolicy(cfg), table: NewTable(cfg), speaker: s, fib: f, log: log, metrics: m, resync: resync,
		ready: make(chan struct{}), changed: make(chan struct{}, 1), ask: make(chan func()), wake: make(chan struct{}, 1),
		given: map[netip.Prefix]Announcement{}, withheld: map[netip.Prefix]withheld{}, ended: map[netip.Addr]bool{}, pruned: map[string]bool{},
	}
}

func (b *Border) String() string { return "border router" }

// Ready is closed once the Speaker speaks, or waits for an address to listen on:
// the router's other work need not wait with it.
func (b *Border) Ready() <-chan struct{} { return b.ready }

// Changed is where a watcher of the kernel reports; it has room for one value.
func (b *Border) Changed() chan<- struct{} { return b.changed }

// Held takes routes that are held, with the kernel's word about each.
func (b *Border) Held(rs []router.Route) { b.put(held(slices.Clone(rs))) }

// Gone takes routes that are held no longer.
func (b *Border) Gone(as []netip.Addr) { b.put(gone(slices.Clone(as))) }

// Updates takes what a peer has said.
func (b *Border) Updates(us []Update) { b.put(us) }

// EndOfRIB notes that a peer has said everything.
func (b *Border) EndOfRIB(peer netip.Addr) { b.put(endOfRIB(peer)) }

// State notes the change of a session.
func (b *Border) State(peer netip.Addr, established bool, reason string) {
	b.put(state{peer, established, reason})
}

func (b *Border) put(v any) {
	b.mu.Lock()
	b.inbox = append(b.inbox, v)
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *Border) takeAll() []any {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.inbox
	b.inbox = nil
	return all
}

// Run speaks and works until ctx ends; routes stay in the kernel, and, where
// graceful restart is on, at the peers.
func (b *Border) Run(ctx context.Context) error {
	if err := b.start(ctx); err != nil {
		return err
	}
	defer b.stop(ctx)
	close(b.ready)
	again := time.NewTicker(listenRetry)
	defer again.Stop()
	audit := time.NewTicker(b.resync)
	defer audit.Stop()
	pace := router.NewPace()
	defer pace.Stop()
	prune := time.NewTimer(b.cfg.restartTime())
	defer prune.Stop()
	for {
		var retry <-chan time.Time
		if !b.speaks {
			retry = again.C
			prune.Reset(b.cfg.restartTime())
		}
		select {
		case <-ctx.Done():
			return nil
		case <-retry:
			if err := b.start(ctx); err != nil {
				return err
			}
		case <-b.wake:
			b.work(time.Now())
		case <-b.changed:
			pace.Ask(time.Now())
		case <-audit.C:
			pace.Ask(time.Now())
		case <-pace.Due():
			pace.Do(b.refresh)
		case <-prune.C:
			b.pruneFamilies(true)
		case f := <-b.ask:
			f()
		}
	}
}

// start lets the Speaker speak, and tells it what there is to announce. Addresses
// that are not there yet are no error.
func (b *Border) start(ctx context.Context) error {
	err := b.speaker.Start(ctx, b)
	var lack *MissingError
	if errors.As(err, &lack) {
		if n := float64(len(lack.Addrs)); n != b.lack {
			b.lack = n
			b.metrics.listenMissing.Set(n)
			b.log.Warn("BGP waits", "err", err)
		}
		return nil
	}
	if err != nil {
		return err
	}
	b.metrics.listenMissing.Set(0)
	b.speaks = true
	if all := slices.SortedFunc(maps.Values(b.given), func(x, y Announcement) int { return comparePrefix(x.Prefix, y.Prefix) }); len(all) > 0 {
		b.said("announced", len(all), b.speaker.Announce(all))
	}
	return nil
}

func (b *Border) stop(ctx context.Context) {
	if !b.speaks {
		return
	}
	if err := b.speaker.Stop(context.WithoutCancel(ctx), b.cfg.GracefulRestart); err != nil {
		b.log.Warn("ending the BGP sessions", "err", err)
	}
}

func (c *Config) restartTime() time.Duration {
	if c.RestartTime == 0 {
		return 120 * time.Second
	}
	return c.RestartTime
}

// work takes the inbox, in runs of one kind so that 10 000 routes are a few
// batches.
func (b *Border) work(now time.Time) {
	var updates []Update
	give := map[netip.Prefix]*Announcement{} // nil: withdraw
	for _, v := range b.takeAll() {
		switch v := v.(type) {
		case held:
			for i := range v {
				b.decide(now, &v[i], give)
			}
		case gone:
			for _, a := range v {
				p := netip.PrefixFrom(a, a.BitLen())
				delete(b.withheld, p)
				give[p] = nil
			}
		case []Update:
			updates = append(updates, v...)
		case endOfRIB:
			b.ended[netip.Addr(v)] = true
		case state:
			b.session(v)
		}
	}
	b.give(give)
	b.install(b.table.Take(now, updates))
	b.pruneFamilies(false)
	b.metrics.set(len(b.given), b.table)
}

func (b *Border) decide(now time.Time, r *router.Route, give map[netip.Prefix]*Announcement) {
	p := netip.PrefixFrom(r.Address, r.Address.BitLen())
	a, err := b.policy.Export(r)
	if err != nil {
		if _, said := b.withheld[p]; !said {
			b.log.Info("not announced", "reason", err)
		}
		b.withheld[p] = withheld{err, now}
		give[p] = nil
		return
	}
	delete(b.withheld, p)
	give[p] = a
}

// give tells the Speaker what differs from what it was told; one that does not
// speak yet is told all of it later.
func (b *Border) give(want map[netip.Prefix]*Announcement) {
	var out []Announcement
	var back []netip.Prefix
	for _, p := range slices.SortedFunc(maps.Keys(want), comparePrefix) {
		had, has := b.given[p]
		switch a := want[p]; {
		case a == nil && has:
			back = append(back, p)
			delete(b.given, p)
		case a != nil && (!has || !a.same(&had)):
			out = append(out, *a)
			b.given[p] = *a
		}
	}
	if !b.speaks {
		return
	}
	if len(out) > 0 {
		b.said("announced", len(out), b.speaker.Announce(out))
	}
	if len(back) > 0 {
		b.said("withdrawn", len(back), b.speaker.Withdraw(back))
	}
}

func (b *Border) said(what string, n int, err error) {
	if err != nil {
		b.metrics.speakerErrors.Inc()
		b.log.Error("BGP: host routes not "+what, "count", n, "err", err)
		return
	}
	b.log.Info("BGP: host routes "+what, "count", n)
}

// install makes the kernel hold what the table has chosen.
func (b *Border) install(chs []router.Change) {
	if len(chs) == 0 {
		return
	}
	failed := 0
	for i, err := range b.fib.Apply(chs) {
		if err != nil {
			failed++
			b.log.Error("BGP: host route not in the kernel", "address", chs[i].Address, "next_hop", chs[i].Locator, "err", err)
		}
	}
	b.metrics.installErrors.Add(float64(failed))
	b.log.Info("BGP: host routes changed in the kernel", "count", len(chs)-failed)
}

func (b *Border) refresh() {
	moved, err := b.fib.Refresh()
	if err != nil {
		b.log.Error("BGP: reading the kernel's routes", "err", err)
		return
	}
	for _, m := range moved {
		if m.Err != nil {
			b.log.Warn("BGP: host route lost its way", "address", m.Address, "err", m.Err)
		}
	}
}

func (b *Border) session(s state) {
	p := b.cfg.peer(s.peer)
	if p == nil {
		return
	}
	if s.established {
		b.metrics.up.WithLabelValues(p.Name).Set(1)
		b.log.Info("BGP session up", "peer", p.Name, "address", p.Address)
		return
	}
	b.metrics.up.WithLabelValues(p.Name).Set(0)
	b.metrics.flaps.WithLabelValues(p.Name).Inc()
	b.log.Warn("BGP session down", "peer", p.Name, "address", p.Address, "reason", s.reason)
}

// pruneFamilies removes what an earlier process left in the kernel once every
// peer of the family that is listened to has said all it has, or the time is
// over.
func (b *Border) pruneFamilies(over bool) {
	for _, family := range []string{"ipv6", "ipv4"} {
		if b.pruned[family] || !over && !b.complete(family) {
			continue
		}
		b.pruned[family] = true
		left, err := b.fib.Leftovers()
		if err != nil {
			b.log.Error("BGP: reading the kernel's routes", "err", err)
			continue
		}
		var chs []router.Change
		for _, a := range left {
			if familyOf(a) == family {
				chs = append(chs, router.Change{Address: a})
			}
		}
		b.install(chs)
	}
}

func (b *Border) complete(family string) bool {
	for _, p := range b.cfg.Peers {
		if p.Accept && familyOf(p.Address) == family && !b.ended[p.Address] {
			return false
		}
	}
	return true
}

// errStopping is what questions get when Run has ended.
var errStopping = errors.New("bgp: stopping")

// inLoop runs f in Run's goroutine and waits for it.
func (b *Border) inLoop(ctx context.Context, f func()) error {
	done := make(chan struct{})
	select {
	case b.ask <- func() { defer close(done); f() }:
		<-done
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errStopping, ctx.Err())
	}
}
