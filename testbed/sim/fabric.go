package sim

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/haltest"
)

// Fate is what becomes of a packet. The zero Fate is invalid.
type Fate uint8

// Fates.
const (
	Delivered Fate = iota + 1 // at a VM's port
	Held                      // by a card, for a VM that is about to run there
	Lost
	Loop
)

func (f Fate) String() string { return [...]string{"invalid", "delivered", "held", "lost", "loop"}[f] }

// Outcome tells one packet's fate.
type Outcome struct {
	Fate     Fate
	Reason   string             // Lost: why
	At       string             // the hypervisor, where it ended at one
	Port     string             // Delivered, Held
	To       netip.Addr         // its destination address in the end
	Rule     hwabstraction.Rule // Delivered, Held: that said so
	Rewrites int                // by redirects on its way
}

// spot is a packet at a node.
type spot struct {
	node string
	dst  netip.Addr
}

// hopLimit bounds a walk; no path without a loop is that long.
const hopLimit = 32

// fabric answers where packets go, as everything stands at one moment. It
// remembers what it has found out: many ways have the same end.
type fabric struct {
	w     *World
	known map[spot]Outcome
}

func newFabric(w *World) *fabric { return &fabric{w: w, known: map[spot]Outcome{}} }

// Walk follows a packet hop by hop from a node (a host at a router, or a VM at
// a hypervisor) to an address.
func (f *fabric) Walk(from string, dst netip.Addr) Outcome {
	var path []spot
	at := spot{from, dst}
	var out Outcome
	for {
		if o, ok := f.known[at]; ok {
			out = o
			break
		}
		if onPath(path, at) || len(path) >= hopLimit {
			out = Outcome{Fate: Loop, Reason: tell(path, at)}
			break
		}
		path = append(path, at)
		next, o, over := f.hop(at)
		if over {
			out = o
			break
		}
		at = next
	}
	for i := len(path) - 1; i >= 0; i-- {
		if out.Fate != Loop && f.rewritten(path, i, at) {
			out.Rewrites++
		}
		f.known[path[i]] = out
	}
	return out
}

// rewritten tells whether a redirect changed the packet at the i'th place of
// the path; end is where the path went on from what is known.
func (f *fabric) rewritten(path []spot, i int, end spot) bool {
	next := end
	if i+1 < len(path) {
		next = path[i+1]
	}
	if next.dst == path[i].dst || f.w.hypervisors[path[i].node] == nil {
		return false
	}
	d := f.w.hypervisors[path[i].node].device.Decide(path[i].dst)
	return d.Act == haltest.ActRedirect
}

func onPath(path []spot, at spot) bool {
	for _, p := range path {
		if p == at {
			return true
		}
	}
	return false
}

func tell(path []spot, at spot) string {
	var b strings.Builder
	for _, p := range path {
		fmt.Fprintf(&b, "%s(%s) ", p.node, p.dst)
	}
	fmt.Fprintf(&b, "%s(%s)", at.node, at.dst)
	return b.String()
}

// hop is one step: where the packet is next, or what becomes of it.
func (f *fabric) hop(at spot) (next spot, out Outcome, over bool) {
	if h := f.w.hypervisors[at.node]; h != nil {
		return f.card(h, at.dst)
	}
	if f.w.routers[at.node].dark {
		return spot{}, Outcome{Fate: Lost, Reason: at.node + " is down", To: at.dst}, true
	}
	dst := at.dst
	if loc, ok := f.w.routers[at.node].kernel[dst]; ok {
		dst = loc // a host route: resolved by the way to the locator
	}
	via := nextHop(at.node, dst)
	if via == "" {
		return spot{}, Outcome{Fate: Lost, Reason: "no route at " + at.node, To: at.dst}, true
	}
	return spot{via, at.dst}, Outcome{}, false
}

// card is a hop through a hypervisor.
func (f *fabric) card(h *hypervisor, dst netip.Addr) (next spot, out Outcome, over bool) {
	if h.dark {
		return spot{}, Outcome{Fate: Lost, Reason: "card " + h.name + " is down", At: h.name, To: dst}, true
	}
	d := h.device.Decide(dst)
	out = Outcome{At: h.name, To: d.To, Rule: d.Rule}
	switch d.Act {
	case haltest.ActRoute, haltest.ActRedirect:
		return spot{tor(h.name), d.To}, Outcome{}, false
	case haltest.ActDeliver, haltest.ActHold:
		out.Fate = Delivered
		if d.Act == haltest.ActHold {
			out.Fate = Held
		}
		if r, ok := d.Rule.(hwabstraction.Deliver); ok {
			out.Port, out.To = r.Port, r.Restore
		}
		return spot{}, out, true
	}
	out.Fate, out.Reason = Lost, fmt.Sprintf("%s at %s", d.Act, h.name)
	return spot{}, out, true
}
