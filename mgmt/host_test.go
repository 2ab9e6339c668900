package mgmt

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
)

// host is an agent or router that keeps to docs/moves.md.
type host struct {
	w        *world
	name     string
	at       netip.Addr
	role     registration.Role
	node     *registration.Node
	boots    uint32
	restarts int // of the management node, that it has noticed
	down     bool
	limit    int // of routes; 0 = none
	vms      map[mobility.VMID]*fakeVM
	refuse   map[string]int // kind of message -> status it is refused with
	tokens   registration.Token
	asked    map[registration.Token]string
}

// fakeVM is what a host knows of a VM.
type fakeVM struct {
	epoch      mobility.Epoch // highest heard of
	serving    mobility.Epoch // 0 = not here
	slots      []netip.Addr
	ticket     mobility.Ticket
	options    mobility.MoveOptions
	deliveries []mobility.Delivery
	active     bool
	redirects  []mobility.Pair
	routes     []netip.Addr
}

func (h *host) start() {
	h.boots++
	h.asked = map[registration.Token]string{}
	node, err := registration.NewNode(registration.Config{Role: h.role, Self: h.at, Management: []netip.Addr{self}, Seed: uint64(h.boots), RestartCount: h.boots})
	if err != nil {
		h.w.t.Fatal(err)
	}
	h.node = node
	h.do(h.node.Watch(h.w.now, self, nil))
}

func (h *host) vm(id mobility.VMID) *fakeVM {
	if h.vms[id] == nil {
		h.vms[id] = &fakeVM{}
	}
	return h.vms[id]
}

func (h *host) do(effects []registration.Effect) {
	for _, e := range effects {
		switch e := e.(type) {
		case registration.Send:
			h.w.queue = append(h.w.queue, packet{h.at, e.To, e.Payload})
		case registration.Ask:
			kind := kindOf(&e.Request, h.role)
			reply := h.reply(kind, &e.Request)
			h.w.say("  %s <- %s: %s", h.name, kind, reply.Status)
			h.do(h.node.Answer(h.w.now, e.Handle, reply, nil))
		case registration.Replied:
			h.w.say("  %s %s: %s, epoch %d, lifetime %s", h.name, h.asked[e.Token], e.Reply.Status, e.Reply.Epoch, e.Reply.Lifetime.Duration())
			if v := h.vm(e.Reply.VM); e.Reply.Status.Accepted() && e.Reply.Lifetime > 0 {
				v.serving, v.epoch = e.Reply.Epoch, max(v.epoch, e.Reply.Epoch)
			}
			delete(h.asked, e.Token)
		case registration.PeerUp:
			if e.Restarted {
				h.restarts++
			}
		case registration.RegisterAgain:
			h.w.say("  %s <- register again", h.name)
		}
	}
}

// submit sends a Request to the management node.
func (h *host) submit(what string, r registration.Request) {
	h.tokens++
	h.asked[h.tokens] = what
	r.CareOf = h.at
	h.do(h.node.Submit(h.w.now, h.tokens, self, r, nil))
	h.w.settle()
}

// kindOf names the row of docs/moves.md with its fields.
func kindOf(r *registration.Request, role registration.Role) string {
	var s string
	switch {
	case r.Move.Phase == mobility.PhasePrepare && !r.Ticket.IsZero():
		s = "prepare-destination"
	case r.Move.Phase == mobility.PhasePrepare:
		s = "prepare-source"
	case r.Move.Phase == mobility.PhaseAbort && r.Lifetime > 0:
		s = "abort-stop"
	case r.Move.Phase == mobility.PhaseAbort:
		s = "abort"
	case r.Lifetime == 0 && role == registration.RoleRouter:
		s = "withdraw"
	case r.Lifetime == 0 && len(r.Pairs) > 0:
		s = "drained"
	case r.Lifetime == 0:
		s = "cold"
	case r.Handoff == mobility.HandoffUnchanged:
		s = "keep"
	case role == registration.RoleRouter:
		s = "route"
	default:
		s = "redirect"
	}
	s += fmt.Sprintf(" epoch %d", r.Epoch)
	if r.CareOf.IsValid() {
		s += fmt.Sprintf(" via %s", r.CareOf)
	}
	if r.Locator4.IsValid() {
		s += fmt.Sprintf(" %s", r.Locator4)
	}
	for _, p := range r.Pairs {
		s += fmt.Sprintf(" %s", p.Old)
		if p.Rewrites() {
			s += fmt.Sprintf(">%s", p.New)
		}
	}
	if r.Current != nil {
		s += fmt.Sprintf(" current %d+%d", r.Current.V6, r.Current.V4)
	}
	return s
}

// reply answers a Request of the management node as a good agent or router does.
func (h *host) reply(kind string, r *registration.Request) registration.Reply {
	v := h.vm(r.VM)
	word, _, _ := strings.Cut(kind, " ")
	if status, ok := h.refuse[word]; ok {
		return registration.Reply{Status: mobility.Status(status), Epoch: v.epoch}
	}
	if r.Epoch < v.epoch && h.role == registration.RoleHypervisor {
		return registration.Reply{Status: mobility.StatusProhibited, Epoch: v.epoch}
	}
	out := registration.Reply{Lifetime: r.Lifetime, Epoch: r.Epoch}
	switch word {
	case "prepare-destination":
		if v.epoch != r.Epoch || v.deliveries == nil {
			v.deliveries, v.active = nil, false
			for _, p := range r.Pairs {
				v.deliveries = append(v.deliveries, mobility.Delivery{Old: p.Old, D: h.deliveryFor(p.Old)})
			}
		}
		v.ticket, v.options = r.Ticket, r.Move
		v.slots = nil
		for i, p := range r.Pairs {
			if r.Current == nil || p.Old.Is6() && i < int(r.Current.V6) || p.Old.Is4() {
				v.slots = append(v.slots, p.Old)
			}
		}
		out.Deliveries = v.deliveries
	case "prepare-source", "redirect":
		v.redirects = slices.Clone(r.Pairs)
		if word == "redirect" {
			v.serving = 0
		}
	case "abort-stop":
		if v.active {
			return registration.Reply{Status: mobility.StatusProhibited, Epoch: v.epoch}
		}
		v.ticket = mobility.Ticket{}
	case "abort":
		v.redirects = nil
	case "cold":
		v.redirects, v.serving = nil, 0
	case "route":
		held := 0
		for _, o := range h.vms {
			held += len(o.routes)
		}
		for _, p := range r.Pairs {
			if slices.Contains(v.routes, p.Old) {
				continue
			}
			if held++; h.limit > 0 && held > h.limit {
				return registration.Reply{Status: mobility.StatusResources, Epoch: v.epoch}
			}
			v.routes = append(v.routes, p.Old)
		}
	case "withdraw":
		v.routes = slices.DeleteFunc(v.routes, func(a netip.Addr) bool {
			return slices.ContainsFunc(r.Pairs, func(p mobility.Pair) bool { return p.Old == a })
		})
	}
	v.epoch = max(v.epoch, r.Epoch)
	return out
}

// deliveryFor is the delivery address of old here: the same each time.
func (h *host) deliveryFor(old netip.Addr) netip.Addr {
	for _, p := range h.w.inv.Hypervisors[h.name].Pools {
		b, o := p.Addr().AsSlice(), old.AsSlice()
		if len(b) != len(o) {
			continue
		}
		if old.Is4() {
			copy(b[2:], o[2:])
		} else {
			copy(b[8:], o[8:])
			b[8] = o[5] // whose range it is from
		}
		a, _ := netip.AddrFromSlice(b)
		return a
	}
	return netip.Addr{}
}

// routes reports whether a router has a host route of the address.
func (h *host) routes(a netip.Addr) bool {
	for _, v := range h.vms {
		if slices.Contains(v.routes, a) {
			return true
		}
	}
	return false
}
