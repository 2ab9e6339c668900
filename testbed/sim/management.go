package sim

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/dpmip/dpmip/mgmt"
	"github.com/dpmip/dpmip/mgmt/store"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
)

var receiptKey = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))

// management is the management node: its Core, its store, and those who wait
// for it.
type management struct {
	process
	core    *mgmt.Core
	store   *store.Memory
	backup  *store.Memory
	pending []mgmt.Commit // not durable yet
	waits   map[mgmt.CommandID]func(d mgmt.Done, ok bool)
	last    mgmt.CommandID
	moves   map[mobility.VMID]map[mobility.Epoch]*mgmt.Move // as last told
}

func newManagement(w *World) *management {
	m := &management{store: &store.Memory{}, waits: map[mgmt.CommandID]func(mgmt.Done, bool){}}
	m.process = process{w: w, name: managementName, boot: m.restart, died: m.crashed}
	return m
}

func (m *management) restart(bool) {
	var records []mgmt.Record
	_ = m.store.Load(func(r store.Record) error { records = append(records, r); return nil })
	var seed [32]byte
	seed[0], seed[1] = byte(m.life), byte(m.life>>8)
	core, effects, err := mgmt.New(m.w.now, mgmt.Config{
		Inventory: m.w.site(), Self: locator(managementName), Key: receiptKey,
		Random: rand.NewChaCha8(seed), Seed: m.w.rng.Uint64(), RetryRefusedMax: maxRetry,
	}, records)
	if err != nil {
		m.w.violate("the management node does not start: %v", err)
		m.alive = false
		return
	}
	m.core, m.pending = core, nil
	m.moves = map[mobility.VMID]map[mobility.Epoch]*mgmt.Move{}
	for _, x := range core.Moves(mobility.VMID{}, false, 0) {
		m.told(x)
	}
	m.w.checkAcknowledged()
	m.run(effects)
	for _, name := range routerNames {
		if r := m.w.routers[name]; r != nil {
			m.w.after(time.Second, r.tellRoom)
		}
	}
	for _, name := range hypervisorNames {
		if h := m.w.hypervisors[name]; h != nil && h.alive {
			h.proofs.connect()
		}
	}
	for _, name := range routerNames {
		if r := m.w.routers[name]; m.w.watched && r != nil && r.alive {
			r.proofs.connect()
		}
	}
}

// crashed loses what was not durable; of the last writes some may have got
// through without anybody having been told.
func (m *management) crashed(bool) {
	m.core = nil
	for _, c := range m.pending[:m.w.rng.IntN(len(m.pending)+1)] {
		_ = m.store.Apply(c.Writes)
	}
	m.pending = nil
	waits := m.waits
	m.waits = map[mgmt.CommandID]func(mgmt.Done, bool){}
	for _, id := range sortedKeys(waits) {
		f := waits[id]
		m.w.after(time.Millisecond, func() { f(mgmt.Done{}, false) })
	}
}

// restore brings the store back to the last backup.
func (m *management) restore(down time.Duration) {
	if m.backup == nil {
		return
	}
	m.doom(0, down, false)
	m.store = m.backup.Clone()
	m.w.storeLost()
}

func (m *management) step(e mgmt.Event) {
	if m.alive {
		m.run(m.core.Step(m.w.now, e))
	}
}

func (m *management) receive(in registration.Inbound) { m.step(mgmt.Received{Inbound: in}) }
func (m *management) unreachable(to netip.Addr)       { m.step(mgmt.Unreachable{To: to}) }
func (m *management) told(x *mgmt.Move) {
	if m.moves[x.VM] == nil {
		m.moves[x.VM] = map[mobility.Epoch]*mgmt.Move{}
	}
	m.moves[x.VM][x.Epoch] = x
}

// run carries effects out, in order.
func (m *management) run(effects []mgmt.Effect) {
	for _, e := range effects {
		if m.burn() {
			return
		}
		m.do(e)
	}
	if at, ok := m.core.Next(); ok {
		m.alarm.set(m.w, at, m.life, func() { m.step(mgmt.Tick{}) })
	}
}

func (m *management) do(e mgmt.Effect) {
	switch e := e.(type) {
	case mgmt.Commit:
		m.commit(e)
	case mgmt.Send:
		m.w.net.send(m.name, e.Send)
	case mgmt.Done:
		if f := m.waits[e.ID]; f != nil {
			delete(m.waits, e.ID)
			m.w.after(100*time.Microsecond, func() { f(e, true) })
		}
	case mgmt.Prove:
		m.prove(e)
	case mgmt.MoveChanged:
		m.told(e.Move)
		m.w.checkProofs(e.Move)
		m.w.dirty = true
	case mgmt.Note:
		m.w.trace("m: %s (vm %s, peer %s, epoch %d)", e.Text, e.VM, e.Peer, e.Epoch)
	}
}

// commit gathers what is to be durable for a short while: group commit.
func (m *management) commit(e mgmt.Commit) {
	m.pending = append(m.pending, e)
	if m.w.sabotage.ackEarly {
		m.later(10*time.Microsecond, func() { m.step(mgmt.Committed{Through: e.ID}) })
		m.later(100*time.Millisecond, m.write)
		return
	}
	if len(m.pending) == 1 {
		m.later(m.w.between(100*time.Microsecond, 3*time.Millisecond), m.write)
	}
}

func (m *management) write() {
	if len(m.pending) == 0 {
		return
	}
	var writes []store.Write
	for _, c := range m.pending {
		writes = append(writes, c.Writes...)
	}
	first, last := m.pending[0].ID, m.pending[len(m.pending)-1].ID
	m.pending = nil
	if err := m.store.Apply(writes); err != nil {
		m.step(mgmt.CommitFailed{From: first, Err: err})
		return
	}
	if !m.w.sabotage.ackEarly {
		m.step(mgmt.Committed{Through: last})
	}
	m.w.dirty = m.w.dirty || slices.ContainsFunc(writes, func(x store.Write) bool { return x.Kind == store.Bindings })
}

// durable is the stored record of a VM, or nil.
func (m *management) durable(vm mobility.VMID) (b *mgmt.Binding) {
	_ = m.store.Load(func(r store.Record) error {
		x := new(mgmt.Binding)
		if r.Kind == store.Bindings && json.Unmarshal(r.Value, x) == nil && x.VM == vm {
			b = x
		}
		return nil
	})
	return b
}

// failStore makes the store fail for a while.
func (m *management) failStore(d time.Duration) {
	s := m.store
	s.FailWith(errors.New("no space left on device"))
	m.w.after(d, func() { s.FailWith(nil) })
}

// command gives the Core a command; ok is false where the node was dead or died
// before it answered.
func (m *management) command(make func(mgmt.CommandID) mgmt.Event, f func(d mgmt.Done, ok bool)) {
	if !m.alive {
		m.w.after(time.Millisecond, func() { f(mgmt.Done{}, false) })
		return
	}
	m.last++
	m.waits[m.last] = f
	m.step(make(m.last))
}
