package mgmt

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"github.com/dpmip/dpmip/mgmt/store"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
)

// Record is one record of a store.
type Record = store.Record

type addr = netip.Addr

const (
	saveInterval = time.Second // how often the clock is made durable
	stallTime    = time.Second // pause after the store failed
)

// Peer is the durable record of a hypervisor or router.
type Peer struct {
	Name    string `json:"name"`
	Restart uint32 `json:"restart"` // its Restart Counter when last heard
	Retired bool   `json:"retired,omitempty"`
}

// selfRecord is the management node's own.
type selfRecord struct {
	Restart       uint32    `json:"restart"`
	LastTimestamp time.Time `json:"last_timestamp,omitzero"`
}

// resume is where timestamps go on after a restart: a save interval later than
// the last durable one, so that they never go back.
func (s *selfRecord) resume() time.Time {
	if s.LastTimestamp.IsZero() {
		return time.Time{}
	}
	return s.LastTimestamp.Add(saveInterval)
}

var selfKey = []byte("self")

func (c *Core) saveSelf() {
	c.saved = c.now
	last := c.node.LastTimestamp()
	if last.Equal(c.self.LastTimestamp) && len(c.tx.writes) == 0 && c.commit > 0 {
		return
	}
	before := c.self.LastTimestamp
	c.self.LastTimestamp = last
	c.tx.undo = append(c.tx.undo, func() { c.self.LastTimestamp = before })
	c.tx.writes = append(c.tx.writes, encode(store.Node, selfKey, &c.self))
}

func encode(kind store.Kind, key []byte, v any) store.Write {
	return store.Write{Kind: kind, Key: key, Value: marshal(v)}
}

func bindingKey(vm mobility.VMID) []byte { return []byte(vm.String()) }

func moveKey(id moveID) []byte {
	return binary.BigEndian.AppendUint32(append([]byte(id.vm.String()), 0), uint32(id.epoch))
}

// restore fills the cache and gives the ordering state of all senders.
func (c *Core) restore(records []Record) ([]registration.Order, error) {
	var orders []registration.Order
	for _, r := range records {
		var err error
		switch r.Kind {
		case store.Bindings:
			b := &Binding{}
			if err = json.Unmarshal(r.Value, b); err == nil {
				c.setBinding(b.VM, b)
				orders = append(orders, b.Orders...)
			}
		case store.Names:
			n := &NamesRecord{}
			if err = json.Unmarshal(r.Value, n); err == nil {
				c.namesOf[n.State.VM] = n
			}
		case store.Moves:
			m := &Move{}
			if err = json.Unmarshal(r.Value, m); err == nil {
				if m.State.before() && !m.Deadline.IsZero() {
					m.Deadline = later(m.Deadline, c.now.Add(c.inv.Lifetimes.Prepare))
				}
				if m.State == MovePreparing && len(m.Proofs) > 0 { // who was asked for what is forgotten
					m.DestinationReady, m.SourceReady, m.Proofs, m.ProveBy = false, false, nil, noTime
				}
				c.setMove(moveID{m.VM, m.Epoch}, m)
			}
		case store.Peers:
			p := &Peer{}
			if err = json.Unmarshal(r.Value, p); err == nil {
				c.peers[p.Name] = p
			}
		case store.Node:
			err = json.Unmarshal(r.Value, &c.self)
		}
		if err != nil {
			return nil, fmt.Errorf("mgmt: record %s/%q: %w", r.Kind, r.Key, err)
		}
	}
	return orders, nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// addresses calls f for every address that the VM keeps from others.
func (b *Binding) addresses(f func(addr)) {
	for _, a := range b.Slots {
		f(a)
	}
	for _, o := range b.Old {
		f(o.Addr)
	}
	for _, q := range b.Quarantine {
		f(q.Addr)
	}
	for _, r := range b.Rehearsal {
		f(r.Addr)
	}
}
