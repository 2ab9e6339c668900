package mgmt

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/dpmip/dpmip/mgmt/inventory"
	"github.com/dpmip/dpmip/mobility"
)

// Inventory is what the Core goes by.
func (c *Core) Inventory() *inventory.Inventory { return c.inv }

// Restart is this node's own Restart Counter.
func (c *Core) Restart() uint32 { return c.self.Restart }

// Bindings lists the bindings with identifiers after the given one, in order, at
// most limit (0 = all), of one hypervisor ("" = of all). The records must not
// be changed.
func (c *Core) Bindings(hypervisor string, after string, limit int) []*Binding {
	var list []*Binding
	for _, b := range c.sorted() {
		if b.Hypervisor == "" && hypervisor != "" || hypervisor != "" && b.Hypervisor != hypervisor || b.VM.String() <= after && after != "" {
			continue
		}
		list = append(list, b)
		if limit > 0 && len(list) == limit {
			break
		}
	}
	return list
}

// Binding is the VM's record, or nil.
func (c *Core) Binding(vm mobility.VMID) *Binding { return c.bindings[vm] }

// Expired reports whether the binding's lifetime is over although it is kept.
func (c *Core) Expired(b *Binding) bool {
	return b.Hypervisor != "" && !c.now.Before(c.expiry(b))
}

// Expiry is when the binding's lifetime ends.
func (c *Core) Expiry(b *Binding) time.Time { return c.expiry(b) }

// Move is the record of a move, or nil. Epoch 0 is the newest.
func (c *Core) Move(vm mobility.VMID, e mobility.Epoch) *Move {
	if e != 0 {
		return c.moves[moveID{vm, e}]
	}
	if list := c.epochs[vm]; len(list) > 0 {
		return c.moves[moveID{vm, list[len(list)-1]}]
	}
	return nil
}

// Moves lists moves, the newest first: of one VM (zero = of all), only those
// that have not ended (open), at most limit (0 = all).
func (c *Core) Moves(vm mobility.VMID, open bool, limit int) []*Move {
	var list []*Move
	for id, m := range c.moves {
		if (vm.IsZero() || id.vm == vm) && !(open && m.State.Ended()) {
			list = append(list, m)
		}
	}
	slices.SortFunc(list, func(a, b *Move) int {
		return cmp.Or(b.Phases[0].At.Compare(a.Phases[0].At), strings.Compare(a.VM.String(), b.VM.String()), cmp.Compare(b.Epoch, a.Epoch))
	})
	if limit > 0 && len(list) > limit {
		list = list[:limit]
	}
	return list
}

// endedMoves lists the VM's ended moves, the oldest first.
func (c *Core) endedMoves(vm mobility.VMID) []*Move {
	var list []*Move
	for _, e := range c.epochs[vm] {
		if m := c.moves[moveID{vm, e}]; m.State.Ended() {
			list = append(list, m)
		}
	}
	return list
}

// PeerView is what is known of a hypervisor or router.
type PeerView struct {
	Name    string
	Up      bool
	Since   time.Time // of Up or of its absence
	Heard   time.Time // the last message; zero = none since the start
	Restart uint32
	Retired bool
	VMs     int // served; hypervisors only
	Anchors int // redirects; hypervisors only
	Routes  int // host routes; routers only
	GaveWay int // addresses that are translated for want of room there; routers only
	// Overbooked: it has no room, and nobody may give way now.
	Overbooked bool
	Outbox     int // messages not answered yet
}

// Peers tells of every hypervisor and router of the inventory.
func (c *Core) Peers() map[string]*PeerView {
	views := map[string]*PeerView{}
	for name, k := range c.contacts {
		p := c.peer(name)
		views[name] = &PeerView{Name: name, Up: k.up, Since: k.since, Heard: k.heard, Restart: p.Restart, Retired: p.Retired, VMs: len(c.byHost[name])}
	}
	for _, b := range c.bindings {
		for _, a := range b.Anchors {
			if v := views[a.Hypervisor]; v != nil {
				v.Anchors++
			}
		}
		for _, r := range slices.Concat(b.Routes, b.Rehearsal) {
			if v := views[r.Router]; v != nil {
				v.Routes++
			}
		}
		for _, y := range b.Yields {
			if v := views[y.Router]; v != nil {
				v.GaveWay++
			}
		}
	}
	for _, name := range c.short {
		if v := views[name]; v != nil {
			v.Overbooked = true
		}
	}
	for _, v := range c.volatile {
		for key := range v.flights {
			if p := views[key.peer]; p != nil {
				p.Outbox++
			}
		}
	}
	return views
}

// Rate is what has been measured of an address's traffic where its VM is, in
// packets per second; false = nothing.
func (c *Core) Rate(b *Binding, a netip.Addr) (float64, bool) { return c.rate(b, a) }

// Trouble says what was last heard of the messages owed to a peer because of a
// VM: "" where there is nothing to say.
func (c *Core) Trouble(vm mobility.VMID, peer string) string {
	v := c.volatile[vm]
	if v == nil {
		return ""
	}
	for _, key := range v.keys() {
		if key.peer == peer && v.flights[key].err != "" {
			return v.flights[key].err
		}
	}
	return ""
}

// Outbox is how many messages are not answered yet.
func (c *Core) Outbox() (n int) {
	for _, v := range c.volatile {
		n += len(v.flights)
	}
	return n
}

// Size is how many bindings and moves there are.
func (c *Core) Size() (bindings, moves int) { return len(c.bindings), len(c.moves) }

// sorted lists all bindings by identifier.
func (c *Core) sorted() []*Binding {
	return slices.SortedFunc(maps.Values(c.bindings), func(a, b *Binding) int {
		return cmp.Or(strings.Compare(a.VM.Bytes, b.VM.Bytes), cmp.Compare(a.VM.Subtype, b.VM.Subtype))
	})
}

func sortedVMs[V any](m map[mobility.VMID]V) []mobility.VMID {
	return slices.SortedFunc(maps.Keys(m), func(a, b mobility.VMID) int {
		return cmp.Or(strings.Compare(a.Bytes, b.Bytes), cmp.Compare(a.Subtype, b.Subtype))
	})
}

func (c *Core) servedBy(hypervisor string) []mobility.VMID {
	return sortedVMs(c.byHost[hypervisor])
}

func joinAddrs(addrs []netip.Addr) string {
	var s []string
	for _, a := range addrs {
		s = append(s, a.String())
	}
	return strings.Join(s, ", ")
}
