package mgmt

import (
	"crypto/ed25519"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/dpmip/dpmip/mgmt/inventory"
	"github.com/dpmip/dpmip/mgmt/store"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
	"github.com/dpmip/dpmip/mobility/wire"
)

// world is a management node, its peers and the network between them, under a
// virtual clock. Messages are real bytes and arrive in order, unless a peer or
// the management node is down.
type world struct {
	t      *testing.T
	now    time.Time
	inv    *inventory.Inventory
	store  *store.Memory
	backup *store.Memory
	core   *Core // nil = crashed
	hosts  map[string]*host
	queue  []packet
	log    []string
	done   map[CommandID]Done
	next   CommandID
	boots  uint64

	effects int // carried out so far
	crashAt int // crash when this many are; 0 = never
	lose    bool
	counts  map[string]int
	commits []Commit
	orders  []PublishNames
	trace   func(Effect)
	probing probing
}

type packet struct {
	from, to netip.Addr
	bytes    []byte
}

var (
	self  = netip.MustParseAddr("2001:db8:f::1")
	epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
)

// testKey signs the receipts of tests.
var testKey = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))

const testInventory = `
[[hypervisor]]
name = "a"
locators = ["2001:db8:a::1", "192.0.2.1"]
ranges = ["2001:db8:a:1::/64", "10.1.0.0/16"]
pools = ["2001:db8:a:d::/64", "10.101.0.0/16"]
router = "ta"
[[hypervisor]]
name = "b"
locators = ["2001:db8:b::1", "192.0.2.2"]
ranges = ["2001:db8:b:1::/64", "10.2.0.0/16"]
pools = ["2001:db8:b:d::/64", "10.102.0.0/16"]
router = "tb"
[[hypervisor]]
name = "c"
locators = ["2001:db8:c::1"]
ranges = ["2001:db8:c:1::/64"]
pools = ["2001:db8:c:d::/64"]
router = "tc"
[[router]]
name = "ta"
role = "tor"
locators = ["2001:db8:f::a"]
uplinks = ["s"]
[[router]]
name = "tb"
role = "tor"
locators = ["2001:db8:f::b"]
uplinks = ["s"]
[[router]]
name = "tc"
role = "tor"
locators = ["2001:db8:f::c"]
uplinks = ["s"]
[[router]]
name = "s"
role = "spine"
locators = ["2001:db8:f::5"]
[policy]
allow_unknown_vms = true
`

func newWorld(t *testing.T, inventoryText string) *world {
	t.Helper()
	w := &world{t: t, now: epoch, store: &store.Memory{}, hosts: map[string]*host{}, done: map[CommandID]Done{}, counts: map[string]int{}, probing: newProbing()}
	w.setInventory(inventoryText)
	w.probing.kernel = func(node string, a netip.Addr) bool { return w.hosts[node].routes(a) }
	for _, name := range sortedKeys(w.inv.Hypervisors) {
		w.addHost(name, registration.RoleHypervisor)
	}
	for _, name := range sortedKeys(w.inv.Routers) {
		w.addHost(name, registration.RoleRouter)
	}
	w.boot()
	return w
}

func (w *world) setInventory(text string) {
	w.t.Helper()
	inv, err := inventory.Parse("test.toml", []byte(text))
	if err != nil {
		w.t.Fatal(err)
	}
	w.inv = inv
}

func (w *world) addHost(name string, role registration.Role) {
	at, _ := w.inv.Locator(name)
	h := &host{w: w, name: name, at: at, role: role, vms: map[mobility.VMID]*fakeVM{}, refuse: map[string]int{}}
	w.hosts[name] = h
	h.start()
}

// boot starts the management node from its store.
func (w *world) boot() {
	w.t.Helper()
	w.boots++
	var records []Record
	if err := w.store.Load(func(r store.Record) error { records = append(records, r); return nil }); err != nil {
		w.t.Fatal(err)
	}
	var seed [32]byte
	seed[0] = byte(w.boots)
	core, effects, err := New(w.now, Config{Inventory: w.inv, Self: self, Key: testKey, Random: rand.NewChaCha8(seed), Seed: w.boots}, records)
	if err != nil {
		w.t.Fatal(err)
	}
	w.core = core
	w.do(effects)
	w.provers()
}

func (w *world) crash() {
	w.core, w.commits = nil, nil
}

func (w *world) say(format string, args ...any) { w.log = append(w.log, fmt.Sprintf(format, args...)) }

// do carries effects out. A crash in their middle loses the rest.
func (w *world) do(effects []Effect) {
	for _, e := range effects {
		if w.core == nil {
			return
		}
		w.effects++
		if w.trace != nil {
			w.trace(e)
		}
		crash := w.effects == w.crashAt
		switch e := e.(type) {
		case Commit:
			if crash && !w.lose {
				if err := w.store.Apply(e.Writes); err != nil {
					w.t.Fatal(err)
				}
			} else if !crash {
				w.commits = append(w.commits, e)
			}
		case Send:
			if !crash || !w.lose {
				w.queue = append(w.queue, packet{self, e.To, e.Payload})
			}
		case Prove:
			w.probing.take(e)
		case Done:
			w.done[e.ID] = e
		case PublishNames:
			w.orders = append(w.orders, e)
		case Count:
			w.counts[strings.TrimSuffix(e.Name+" "+e.Label, " ")]++
		}
		if crash {
			w.crash()
		}
	}
}

func (w *world) step(e Event) {
	if w.core != nil {
		w.do(w.core.Step(w.now, e))
	}
}

// flush makes what is to be durable durable, in one transaction.
func (w *world) flush() bool {
	if w.core == nil || len(w.commits) == 0 {
		return false
	}
	var writes []store.Write
	for _, c := range w.commits {
		writes = append(writes, c.Writes...)
	}
	first, last := w.commits[0].ID, w.commits[len(w.commits)-1].ID
	w.commits = nil
	if err := w.store.Apply(writes); err != nil {
		w.step(CommitFailed{From: first, Err: err})
		return true
	}
	w.step(Committed{Through: last})
	return true
}

// settle lets everything happen that needs no time to pass.
func (w *world) settle() {
	for range 100_000 {
		if w.flush() {
			continue
		}
		if due := w.probing.due; len(due) > 0 {
			w.probing.due = due[1:]
			w.step(due[0])
			continue
		}
		if len(w.queue) == 0 {
			if w.lookIntoKernels(); len(w.probing.due) > 0 {
				continue
			}
			return
		}
		p := w.queue[0]
		w.queue = w.queue[1:]
		w.deliver(p)
	}
	w.t.Fatal("the world does not come to rest")
}

func (w *world) deliver(p packet) {
	var m wire.Message
	if err := m.Parse(p.bytes); err != nil {
		w.t.Fatalf("a message that does not parse: %v", err)
	}
	in := registration.Inbound{From: p.from, Message: &m, Bytes: p.bytes, Auth: registration.AuthOK}
	if p.to == self {
		w.step(Received{in})
		return
	}
	for _, h := range w.hosts {
		if h.at == p.to && !h.down {
			h.do(h.node.Receive(w.now, in, nil))
		}
	}
}

// wait lets time pass, stopping wherever somebody has work.
func (w *world) wait(d time.Duration) {
	w.settle()
	for end := w.now.Add(d); ; {
		next, any := end, false
		consider := func(t time.Time, ok bool) {
			if ok && t.Before(next) {
				next, any = t, true
			}
		}
		if w.core != nil {
			consider(w.core.Next())
		}
		for _, h := range w.hosts {
			if !h.down {
				consider(h.node.Next())
			}
		}
		w.now = later(w.now, next)
		if !any {
			return
		}
		w.step(Tick{})
		for _, name := range sortedKeys(w.hosts) {
			if h := w.hosts[name]; !h.down {
				h.do(h.node.Tick(w.now, nil))
			}
		}
		w.settle()
	}
}

// command gives an operator's command and waits for its answer.
func (w *world) command(make func(CommandID) Event) Done {
	w.t.Helper()
	w.next++
	w.step(make(w.next))
	w.settle()
	d, ok := w.done[w.next]
	if !ok && w.core != nil {
		w.t.Fatalf("a command without an answer")
	}
	return d
}
