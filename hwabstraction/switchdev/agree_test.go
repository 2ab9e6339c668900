package switchdev

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/haltest"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/flower"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/tc"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/ways"
)

// walk sends a UDP packet through filters, from a port, and says where it leaves
// and with which destination; ok is false where it misses.
func walk(filters map[place]flower.Status, port int32, src, dst netip.Addr) (out int32, to netip.Addr, ok bool) {
	chain := uint32(entryChain)
	for range 8 {
		s, found := lookup(filters, port, chain, src, dst)
		if !found {
			return 0, dst, false
		}
		to = dst
		for _, a := range s.Actions {
			switch a := a.(type) {
			case flower.Rewrite:
				if a.Destination.IsValid() {
					to = a.Destination
				}
			case flower.Redirect:
				return a.Port, to, true
			case flower.Goto:
				chain = a.Chain
			}
		}
		if chain == SlowChain {
			return 0, dst, false
		}
	}
	return 0, dst, false
}

// lookup finds the filter of a chain that takes the packet, with 64 hops to go
// and of a flow that conntrack has seen answered.
func lookup(filters map[place]flower.Status, port int32, chain uint32, src, dst netip.Addr) (best flower.Status, ok bool) {
	for at, s := range filters {
		m := s.Match
		takes := at.port == port && at.chain == chain && m.HopLimitMask == 0 && m.FlagsMask == 0 &&
			(m.Protocol == 0 || m.Protocol == 17) && (!m.Destination.IsValid() || m.Destination.Contains(dst)) &&
			(s.All || s.IPv4 == dst.Is4()) && (!m.Source.IsValid() || m.Source.Contains(src))
		if takes && (!ok || s.Priority < best.Priority) {
			best, ok = s, true
		}
	}
	return best, ok
}

// peer is a source that no filter names.
var peer = ip("198.51.100.9")

// disagrees says how the filters and the slow path differ about a packet; "" =
// they do not, or the packet misses.
func disagrees(filters map[place]flower.Status, chaos *haltest.Chaos, dst netip.Addr) string {
	out, to, fast := walk(filters, 1, peer, dst)
	if !fast {
		return ""
	}
	d := chaos.Decide(dst)
	want := haltest.Decision{Act: haltest.ActDeliver, To: to}
	if out == 1 {
		want.Act = haltest.ActRedirect
		if r, ok := d.Rule.(hwabstraction.Redirect); ok && d.Act == haltest.ActRedirect && r.To == to {
			return ""
		}
	} else if d.Act == want.Act && (d.To == to || d.To == dst && to == dst) {
		return ""
	}
	return fmt.Sprintf("to %s: filters %s to %s by port %d, the slow path %+v", dst, want.Act, to, out, d)
}

// watcher holds filters against the slow path, at every step of both.
type watcher struct {
	*testing.T
	chaos *haltest.Chaos
	addrs []netip.Addr
	mu    sync.Mutex // guards what follows
	fast  int        // packets that would not have missed
	out   int        // of VMs' ports as well
	last  string
}

func (w *watcher) did(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = what
}

func (w *watcher) look(when string, filters map[place]flower.Status) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.Failed() {
		return
	}
	for _, a := range w.addrs {
		if why := disagrees(filters, w.chaos, a); why != "" {
			w.Errorf("%s, after %s: %s", when, w.last, why)
		}
		if _, _, fast := walk(filters, 1, peer, a); fast {
			w.fast++
		}
		for _, from := range w.addrs { // a VM's port leaves to the slow path what a rule claims
			if _, _, fast := walk(filters, 7, from, a); fast && w.chaos.Decide(a).Act != haltest.ActRoute {
				w.Errorf("%s, after %s: from %s to %s by filters, the slow path %+v", when, w.last, from, a, w.chaos.Decide(a))
			}
		}
		if _, _, fast := walk(filters, 7, a, peer); fast {
			w.out++
		}
	}
}

// watched is a slow path that is looked at before and after it does something.
type watchedSlow struct {
	hwabstraction.Device
	w     *watcher
	table *fakeTable
}

func (s watchedSlow) around(what string, f func() error) error {
	s.w.look("before "+what, s.table.all())
	err := f()
	s.w.look("after "+what, s.table.all())
	return err
}

func (s watchedSlow) Arm(st hwabstraction.Stamp) error {
	return s.around("arming", func() error { return s.Device.Arm(st) })
}

func (s watchedSlow) Disarm(st hwabstraction.Stamp) error {
	return s.around("disarming", func() error { return s.Device.Disarm(st) })
}

func (s watchedSlow) Activate(st hwabstraction.Stamp) error {
	return s.around("activating", func() error { return s.Device.Activate(st) })
}

func (s watchedSlow) GiveBack(ctx context.Context, st hwabstraction.Stamp) error {
	return s.around("giving back", func() error { return s.Device.GiveBack(ctx, st) })
}

func (s watchedSlow) Apply(ctx context.Context, changes []hwabstraction.Change) (r []hwabstraction.Result) {
	s.around("a change", func() error { r = s.Device.Apply(ctx, changes); return nil })
	return r
}

// TestFiltersAgree does all kinds of things in random order, and looks at every
// address after every single filter and around every step of the slow path, also
// where the table refuses requests:
// what is fast is never anything but what the slow path would do.
func TestFiltersAgree(t *testing.T) {
	t.Parallel()
	fast, out := 0, 0
	for seed := range uint64(80) {
		synctest.Test(t, func(t *testing.T) {
			f, o := agree(t, seed)
			fast, out = fast+f, out+o
		})
	}
	if fast < 5000 || out < 5000 {
		t.Errorf("of all packets %d to VMs and %d from VMs did not miss: hardly anything was tested", fast, out)
	}
}

func agree(t *testing.T, seed uint64) (fast, out int) {
	rng := rand.New(rand.NewPCG(seed, 1))
	s := around()
	b := &bench{T: t, diary: &diary{}, chaos: haltest.NewChaos(haltest.Plan{Ports: []string{"fab0", "vm0"}})}
	b.table = newTable(b.diary, 1, 7)
	world := newRandomWorld(rng)
	w := &watcher{T: t, chaos: b.chaos, addrs: world.addrs}
	b.table.watch = func(filters map[place]flower.Status) { w.look("between two filters", filters) }
	if seed%2 == 1 { // the table refuses some of what is asked of it
		dice := rand.New(rand.NewPCG(seed, 2))
		b.table.refuse = func(tc.Request) error {
			if dice.IntN(30) == 0 {
				return hwabstraction.ErrTableFull
			}
			return nil
		}
	}
	b.kernel = &fakeKernel{ports: map[string]ways.Port{"fab0": s.uplinks[0], "vm0": s.ports["vm0"]}, hops: world.hops, exits: s.exits, changed: make(chan struct{}, 1)}
	start := func() {
		dev, err := Open(watchedSlow{b.chaos, w, b.table}, Config{Fabric: []string{"fab0"}, Table: b.table, Kernel: b.kernel, SkipHW: true})
		if err != nil {
			t.Fatal(err)
		}
		b.dev = dev
	}
	start()
	for range 200 {
		if t.Failed() {
			break
		}
		switch rng.IntN(20) {
		case 0:
			b.dev.Halt()
			w.did("a restart")
			start()
		case 1, 2, 3:
			time.Sleep(time.Duration(rng.IntN(200)) * time.Millisecond)
		case 4, 5, 6, 7:
			b.packet(world.addr())
		default:
			w.did(world.act(t, b.dev))
		}
		if rng.IntN(2) == 0 {
			synctest.Wait()
		}
	}
	time.Sleep(3 * time.Second)
	synctest.Wait()
	b.dev.Close()
	return w.fast, w.out
}

// randomWorld draws what may happen.
type randomWorld struct {
	rng   *rand.Rand
	addrs []netip.Addr
	hops  map[netip.Addr]ways.Hop
}

func newRandomWorld(rng *rand.Rand) *randomWorld {
	r := &randomWorld{rng: rng, hops: map[netip.Addr]ways.Hop{}}
	for i := range 3 {
		r.addrs = append(r.addrs, ip(fmt.Sprintf("10.1.0.%d", i)), ip(fmt.Sprintf("10.2.0.%d", i)))
		r.hops[ip(fmt.Sprintf("10.3.0.%d", i))] = around().hops[locator]
	}
	return r
}

func (r *randomWorld) addr() netip.Addr { return r.addrs[r.rng.IntN(len(r.addrs))] }

func (r *randomWorld) stamp() hwabstraction.Stamp {
	return stamp(byte(1+r.rng.IntN(5)/4), uint32(1+r.rng.IntN(4)))
}

// rule draws a Deliver, a Redirect, a Trap or an Egress.
func (r *randomWorld) rule() hwabstraction.Rule {
	i := r.rng.IntN(3)
	old, here, there := r.addrs[2*i], r.addrs[2*i+1], ip(fmt.Sprintf("10.3.0.%d", i))
	switch r.rng.IntN(8) {
	case 0:
		return hwabstraction.Trap{Stamp: stamp(9, 1), Address: r.addr(), Rate: 10}
	case 1:
		return hwabstraction.Egress{Stamp: r.stamp(), Port: "vm0", Source: old, MAC: vmMAC}
	case 2, 3:
		return redirection(old, there, r.stamp(), hwabstraction.NewFlows(r.rng.IntN(3)))
	case 4, 5:
		return holding(delivery(here, old, r.stamp()))
	}
	return delivery(old, old, r.stamp())
}

// act does something to the device; what the contract refuses is refused.
func (r *randomWorld) act(t *testing.T, d *Device) string {
	st := r.stamp()
	switch r.rng.IntN(12) {
	case 0, 1:
		return fmt.Sprint("arm ", st, d.Arm(st))
	case 2:
		return fmt.Sprint("disarm ", st, d.Disarm(st))
	case 3, 4:
		return fmt.Sprint("activate ", st, d.Activate(st))
	case 5:
		return fmt.Sprint("give back ", st, d.GiveBack(t.Context(), st))
	case 6, 7:
		rules, err := d.Rules(t.Context())
		if err != nil || len(rules) == 0 {
			return "nothing"
		}
		slices.SortFunc(rules, func(a, b hwabstraction.RuleStatus) int { return a.Rule.ID().Prefix.Compare(b.Rule.ID().Prefix) })
		old := rules[r.rng.IntN(len(rules))].Rule
		return fmt.Sprint("remove ", old, d.Apply(t.Context(), []hwabstraction.Change{hwabstraction.Remove(old.ID(), old.Stamped())}))
	}
	var changes []hwabstraction.Change
	for range 1 + r.rng.IntN(3) {
		changes = append(changes, hwabstraction.Put(r.rule()))
	}
	return fmt.Sprint("put ", changes, d.Apply(t.Context(), changes))
}
