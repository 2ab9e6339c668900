package sim

import (
	"net/netip"
	"time"

	"github.com/dpmip/dpmip/mobility/registration"
	"github.com/dpmip/dpmip/mobility/wire"
)

// Noise is what the network does to messages, in percent.
type Noise struct {
	Loss   int // is lost
	Repeat int // arrives twice
	Slow   int // takes up to 3 s, so that later ones overtake it
}

// node is what the network needs of a node.
type node interface {
	up() bool
	receive(registration.Inbound)
	unreachable(to netip.Addr)
}

// network carries messages between nodes.
type network struct {
	w     *World
	noise Noise
	nodes map[netip.Addr]node
	names map[netip.Addr]string
	cuts  map[[2]string]int // partitions, by pair of names in order
	count map[wire.Type]int // messages handed over, by type
}

func newNetwork(w *World, n Noise) *network {
	return &network{w: w, noise: n, nodes: map[netip.Addr]node{}, names: map[netip.Addr]string{}, cuts: map[[2]string]int{}, count: map[wire.Type]int{}}
}

func (n *network) add(name string, x node) {
	n.nodes[locator(name)], n.names[locator(name)] = x, name
}

func pair(a, b string) [2]string {
	if a > b {
		a, b = b, a
	}
	return [2]string{a, b}
}

// cut separates two nodes for a while.
func (n *network) cut(a, b string, d time.Duration) {
	n.cuts[pair(a, b)]++
	n.w.after(d, func() { n.cuts[pair(a, b)]-- })
}

// percent draws.
func (w *World) percent(p int) bool { return p > 0 && w.rng.IntN(100) < p }

// between draws a duration.
func (w *World) between(least, most time.Duration) time.Duration {
	return least + time.Duration(w.rng.Int64N(int64(most-least)+1))
}

// send takes one message from a node.
func (n *network) send(from string, s registration.Send) {
	n.count[wire.Type(s.Payload[2])]++
	copies := 1
	switch {
	case n.w.percent(n.noise.Loss):
		copies = 0
	case n.w.percent(n.noise.Repeat):
		copies = 2
	}
	for range copies {
		d := n.w.between(50*time.Microsecond, time.Millisecond)
		if n.w.percent(n.noise.Slow) {
			d = n.w.between(time.Millisecond, 3*time.Second)
		}
		n.w.after(d, func() { n.arrive(from, s) })
	}
}

func (n *network) arrive(from string, s registration.Send) {
	to, sender := n.nodes[s.To], n.nodes[locator(from)]
	if n.cuts[pair(from, n.names[s.To])] > 0 {
		return
	}
	if !to.up() {
		if n.w.percent(50) && sender.up() { // its kernel is there, and says so
			n.w.after(200*time.Microsecond, func() {
				if sender.up() {
					sender.unreachable(s.To)
				}
			})
		}
		return
	}
	m := new(wire.Message)
	if err := m.Parse(s.Payload); err != nil {
		n.w.violate("%s sent a message that does not parse: %v", from, err)
		return
	}
	n.w.trace("%s -> %s: %s", from, n.names[s.To], describe(m))
	to.receive(registration.Inbound{From: locator(from), Message: m, Bytes: s.Payload, Auth: registration.AuthOK})
}
