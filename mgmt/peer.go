package mgmt

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/dpmip/dpmip/mgmt/inventory"
	"github.com/dpmip/dpmip/mgmt/store"
	"github.com/dpmip/dpmip/mobility/registration"
)

// reasonRegisterAgain is the reason of an Update Notification (RFC 7077).
const reasonRegisterAgain = 1

// contact is what heartbeats tell of a peer; it may be forgotten.
type contact struct {
	up      bool
	lost    bool      // not heard since it was missed
	since   time.Time // up or down since then
	heard   time.Time // the last message
	restart uint32    // its Restart Counter, once it is up
	watched netip.Addr
}

func (c *Core) peer(name string) *Peer {
	if p := c.peers[name]; p != nil {
		return p
	}
	return &Peer{Name: name}
}

func (c *Core) putPeer(p *Peer) {
	old := c.peers[p.Name]
	c.peers[p.Name] = p
	c.tx.undo = append(c.tx.undo, func() {
		if c.peers[p.Name] = old; old == nil {
			delete(c.peers, p.Name)
		}
	})
	c.tx.writes = append(c.tx.writes, encode(store.Peers, []byte(p.Name), p))
}

// watch starts heartbeats to every peer of the inventory, and ends those to
// peers that are no longer in it.
func (c *Core) watch() {
	for _, name := range sortedKeys(c.contacts) {
		if at, ok := c.inv.Locator(name); !ok || at != c.contacts[name].watched {
			c.node.Unwatch(c.contacts[name].watched)
			delete(c.contacts, name)
		}
	}
	for _, name := range slices.Concat(sortedKeys(c.inv.Hypervisors), sortedKeys(c.inv.Routers)) {
		if c.contacts[name] == nil {
			at, _ := c.inv.Locator(name)
			c.contacts[name] = &contact{watched: at, since: c.now}
			c.run(c.node.Watch(c.now, at, nil))
		}
	}
}

func (c *Core) peerUp(e registration.PeerUp) {
	name := c.inv.Peer(e.Peer)
	k := c.contacts[name]
	if k == nil {
		return
	}
	if !k.up {
		k.up, k.since, k.lost = true, c.now, false
		c.insist(c.standbys)
	}
	k.restart = e.Restart
	c.emit(Count{"peer_up", name})
	c.emit(Note{Text: "peer is up", Peer: name})
	c.insist(func() { c.met(name, e.Peer, e.Restarted) })
	c.resend(e.Peer)
}

// met keeps a peer's Restart Counter, and does what its restart needs: the node
// has seen one, or it was while nobody looked.
func (c *Core) met(name string, at netip.Addr, seen bool) {
	k := c.contacts[name]
	if k == nil { // no longer in the inventory
		return
	}
	known, ok := c.peers[name]
	restarted := ok && known.Restart != k.restart
	if !ok || restarted {
		p := *c.peer(name)
		p.Restart = k.restart
		c.putPeer(&p)
	}
	if restarted || seen {
		c.restarted(name, at)
	}
}

func (c *Core) peerDown(e registration.PeerDown) {
	name := c.inv.Peer(e.Peer)
	if k := c.contacts[name]; k != nil {
		k.up, k.since, k.lost = false, c.now, true
		c.insist(c.standbys)
	}
	c.emit(Count{"peer_down", name})
	c.emit(Note{Warning: true, Text: "peer is down: it misses heartbeats", Peer: name})
}

// resend sends at once what waits for a peer that has come back.
func (c *Core) resend(to netip.Addr) {
	for _, t := range slices.Sorted(maps.Keys(c.tokens)) {
		if f := c.tokens[t]; f.to == to {
			c.submit(f)
		}
	}
}

// restarted makes a peer's state whole again after its restart: open moves are
// prepared again, a router gets all its routes again, a hypervisor is asked to
// register its VMs again (it spreads that by itself).
func (c *Core) restarted(name string, at netip.Addr) {
	c.emit(Count{"peer_restarted", name})
	c.emit(Note{Text: "peer has restarted", Peer: name})
	c.forgetLimit(name)
	for _, b := range c.sorted() {
		if b.Open != 0 {
			c.prepareAgain(b, name)
		}
		for i := range b.Routes {
			if r := b.Routes[i]; r.Router == name && r.Confirmed && c.routed(b, r.Addr) {
				c.tx.edit(b.VM).Routes[i].Confirmed = false
			}
		}
		for i, r := range b.Rehearsal {
			if r.Router == name && r.Confirmed {
				c.tx.edit(b.VM).Rehearsal[i].Confirmed = false
			}
		}
	}
	if c.inv.Hypervisors[name] != nil {
		c.run(c.node.Notify(c.now, at, reasonRegisterAgain, nil))
	}
}

func (c *Core) prepareAgain(b *Binding, name string) {
	m := c.tx.move(b.VM, b.Open)
	if m == nil || m.State != MovePreparing && m.State != MoveReady {
		return
	}
	if m.To == name && m.DestinationReady || m.From == name && m.SourceReady {
		e := c.tx.editMove(b.VM, b.Open)
		e.DestinationReady = e.DestinationReady && e.To != name
		e.SourceReady = e.SourceReady && e.From != name
		e.State = MovePreparing
		c.dropProofs(e, name+" has restarted")
		e.Proofs, e.ProveBy = nil, noTime
		e.phase(c.now, PhasePeerRestarted, name)
	}
}

// inventoryChanged goes by a new inventory from now on. What is owed to peers
// that are no longer in it will never be answered and is dropped.
func (c *Core) inventoryChanged(inv *inventory.Inventory) {
	c.inv = inv
	c.watch()
	c.insist(c.conform)
}

// conform makes the records agree with the inventory.
func (c *Core) conform() {
	for _, b := range c.sorted() {
		gone := func(name string) bool { _, ok := c.inv.Locator(name); return !ok }
		anchors := slices.ContainsFunc(b.Anchors, func(a Anchor) bool { return gone(a.Hypervisor) })
		routes := slices.ContainsFunc(b.Routes, func(r Route) bool { return gone(r.Router) })
		routes = routes || slices.ContainsFunc(b.Rehearsal, func(r Route) bool { return gone(r.Router) })
		if anchors || routes {
			e := c.tx.edit(b.VM)
			e.Anchors = slices.DeleteFunc(e.Anchors, func(a Anchor) bool { return gone(a.Hypervisor) })
			e.Routes = slices.DeleteFunc(e.Routes, func(r Route) bool { return gone(r.Router) })
			e.Rehearsal = slices.DeleteFunc(e.Rehearsal, func(r Route) bool { return gone(r.Router) })
			c.advance(e)
		}
		c.dropAbort(b, gone)
		c.tx.touch(b.VM)
	}
	c.renameAll()
}

// dropAbort ends an abort sequence that waits for a peer that is no more.
func (c *Core) dropAbort(b *Binding, gone func(string) bool) {
	m := c.tx.move(b.VM, b.Open)
	if m == nil || !gone(m.To) && !(gone(m.From) && m.Abort == AbortDisarm) {
		return
	}
	c.endMove(c.tx.edit(b.VM), c.tx.editMove(b.VM, b.Open), strings.Join([]string{m.From, m.To}, " or ")+" was taken out of the inventory")
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
