package mgmt

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/dpmip/dpmip/internal/probe"
	"github.com/dpmip/dpmip/internal/restart"
	"github.com/dpmip/dpmip/mgmt/inventory"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
)

// ErrUnknown is wrapped by errors about a VM, move, hypervisor or receipt that
// is not there.
var ErrUnknown = errors.New("mgmt: unknown")

// Config configures a Core.
type Config struct {
	Inventory *inventory.Inventory
	Self      netip.Addr         // own locator
	Key       ed25519.PrivateKey // signs receipts
	// Random gives the tickets. A daemon uses crypto/rand.Reader; it must not
	// fail.
	Random io.Reader
	// Seed feeds jitter, sequence numbers and nonces.
	Seed       uint64
	Enterprise uint32 // in vendor options, 0 = the default
	// RetryRefused is the first wait after a refusal of something that is owed;
	// doubling to RetryRefusedMax. Defaults 100 ms, 30 s.
	RetryRefused, RetryRefusedMax time.Duration
	// NamesTTL is the TTL of a VM's addresses in the DNS while a renumbering move
	// is under way; whole seconds, default 5 s.
	NamesTTL time.Duration
}

func (c *Config) withDefaults() {
	if c.RetryRefused <= 0 {
		c.RetryRefused = 100 * time.Millisecond
	}
	if c.RetryRefusedMax <= 0 {
		c.RetryRefusedMax = 30 * time.Second
	}
	if c.NamesTTL <= 0 {
		c.NamesTTL = defaultMoveTTL
	}
}

// Core is the management node's mind. It is for one goroutine.
type Core struct {
	cfg  Config
	inv  *inventory.Inventory
	node *registration.Node
	self selfRecord

	bindings map[mobility.VMID]*Binding
	moves    map[moveID]*Move
	epochs   map[mobility.VMID][]mobility.Epoch // of moves, ascending
	peers    map[string]*Peer
	namesOf  map[mobility.VMID]*NamesRecord
	byAddr   map[netip.Addr]mobility.VMID
	claims   map[claimKey]*Claim
	byHost   map[string]map[mobility.VMID]struct{} // serving hypervisor -> VMs

	volatile map[mobility.VMID]*volatile
	tokens   map[registration.Token]*flight
	provers  map[string][]string // nodes that take tasks, and what each can be asked
	asked    map[probe.Token]*asked
	tokensOf map[moveID][]probe.Token
	contacts map[string]*contact
	token    registration.Token
	wakes    wakes

	// Of the routers' budgets, see budget.go; may be forgotten.
	limits  map[string]int                        // host routes that a router may hold
	guessed map[string]time.Time                  // when it has not said it itself
	crowded map[string]map[mobility.VMID]struct{} // refused for want of room
	short   []string                              // too full, and nobody may give way
	look    time.Time                             // the next look; zero = none
	looked  time.Time                             // the last

	started time.Time // of this process: no binding expires within a lifetime of it
	stall   time.Time // nothing is sent before: the store failed
	redo    []func()  // then, see insist
	saved   time.Time // when the clock was last made durable

	tx      *txn
	pending []*txn
	commit  uint64
	now     time.Time
	out     []Effect
	effects []registration.Effect // scratch
}

// New makes a Core from the records of a store, and says what to do first. The
// error names the record that cannot be read.
func New(now time.Time, cfg Config, records []Record) (*Core, []Effect, error) {
	cfg.withDefaults()
	c := &Core{
		cfg: cfg, inv: cfg.Inventory, now: now, started: now,
		bindings: map[mobility.VMID]*Binding{}, moves: map[moveID]*Move{}, epochs: map[mobility.VMID][]mobility.Epoch{}, peers: map[string]*Peer{},
		namesOf: map[mobility.VMID]*NamesRecord{}, byAddr: map[netip.Addr]mobility.VMID{}, byHost: map[string]map[mobility.VMID]struct{}{},
		volatile: map[mobility.VMID]*volatile{}, tokens: map[registration.Token]*flight{}, contacts: map[string]*contact{},
		provers: map[string][]string{}, asked: map[probe.Token]*asked{}, claims: map[claimKey]*Claim{}, tokensOf: map[moveID][]probe.Token{},
		limits: map[string]int{}, guessed: map[string]time.Time{}, crowded: map[string]map[mobility.VMID]struct{}{},
	}
	orders, err := c.restore(records)
	if err != nil {
		return nil, nil, err
	}
	c.self.Restart = restart.Next(c.self.Restart, now)
	t := c.inv.Timers
	node, err := registration.NewNode(registration.Config{
		Role: registration.RoleManagement, Self: cfg.Self, Window: t.Window,
		FirstRetry: t.FirstRetry, Retry: t.Retry, MaxRetry: t.MaxRetry, Heartbeat: t.Heartbeat, Misses: t.Misses,
		RestartCount: c.self.Restart, Seed: cfg.Seed, LastTimestamp: c.self.resume(), Enterprise: cfg.Enterprise,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("mgmt: %w", err)
	}
	c.node = node
	c.node.Restore(orders)
	c.begin(now)
	c.saveSelf()
	c.watch()
	for _, b := range c.sorted() {
		c.expire(b.VM)
		c.tx.touch(b.VM)
	}
	c.insist(c.resumeNames)
	c.insist(c.provedAgain)
	c.insist(c.departAgain)
	c.resumeBudgets()
	return c, c.end(), nil
}

// Step takes one event.
func (c *Core) Step(now time.Time, e Event) []Effect {
	c.begin(now)
	switch e := e.(type) {
	case Received:
		if k := c.contacts[c.inv.Peer(e.From)]; k != nil {
			k.heard = now
		}
		c.effects = c.node.Receive(now, e.Inbound, c.effects[:0])
		c.run(c.effects)
	case Unreachable:
		c.run(c.node.Unreachable(now, e.To, c.effects[:0]))
	case Committed:
		c.committed(e.Through)
	case CommitFailed:
		c.commitFailed(e.From, e.Err)
	case InventoryChanged:
		c.inventoryChanged(e.Inventory)
	case ProverUp:
		c.proverUp(e)
	case ProverDown:
		c.proverDown(e)
	case ProofReport:
		c.proofReported(e)
	case RouterLimit:
		c.limited(e)
	case Traffic:
		c.traffic(e)
	case Tick:
		c.tick()
	default:
		c.command(e)
	}
	return c.end()
}

// Next is when a Tick has work.
func (c *Core) Next() (time.Time, bool) {
	at, ok := c.node.Next()
	var redo time.Time
	if len(c.redo) > 0 {
		redo = c.stall
	}
	for _, t := range []time.Time{c.wakes.first(), c.saved.Add(saveInterval), c.look, redo} {
		if !t.IsZero() && (!ok || t.Before(at)) {
			at, ok = t, true
		}
	}
	return at, ok
}

// usualEffects is how many effects one Step seldom passes.
const usualEffects = 8

func (c *Core) begin(now time.Time) {
	if now.Before(c.now) { // a clock that steps back stands still here
		now = c.now
	}
	c.now, c.out, c.tx = now, make([]Effect, 0, usualEffects), &txn{c: c}
}

func (c *Core) end() []Effect {
	c.tx.flush()
	c.tx = nil
	return c.out
}

func (c *Core) emit(e Effect) { c.out = append(c.out, e) }

func (c *Core) tick() {
	c.run(c.node.Tick(c.now, c.effects[:0]))
	c.doAgain()
	for w, ok := c.wakes.due(c.now); ok; w, ok = c.wakes.due(c.now) {
		c.wake(w)
	}
	c.budgets()
	if c.now.Sub(c.saved) >= saveInterval {
		c.saveSelf()
	}
}

// run does what the Node wants.
func (c *Core) run(effects []registration.Effect) {
	for _, e := range effects {
		switch e := e.(type) {
		case registration.Send:
			c.emit(Send{e})
		case registration.Ask:
			c.ask(e)
		case registration.Replied:
			c.replied(e)
		case registration.Unanswered:
			c.unanswered(e)
		case registration.PeerUp:
			c.peerUp(e)
		case registration.PeerDown:
			c.peerDown(e)
		case registration.Count:
			c.emit(Count{Name: e.Name})
		}
	}
}

// submit and answer hand over to the Node; neither makes it ask anything.
func (c *Core) submit(f *flight) {
	c.run(c.node.Submit(c.now, f.token, f.to, f.owed.request, nil))
}

func (c *Core) answer(h registration.Handle, r registration.Reply) {
	c.run(c.node.Answer(c.now, h, r, nil))
}
