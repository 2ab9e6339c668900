package haltest

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/dpmip/dpmip/hwabstraction"
)

// Ethernet types.
const (
	ethIPv4 = 0x0800
	ethARP  = 0x0806
	ethIPv6 = 0x86dd
)

// Addresses of the simulated Ethernet: the gateway that every VM port shows,
// and the two ends of the fabric port.
var (
	chaosGateway = MAC{2, 0xd9, 0, 0, 0, 1}
	chaosFabric  = MAC{2, 0xd9, 0, 0, 1, 0}
	chaosRouter  = MAC{2, 0xd9, 0, 0, 1, 1}
)

// Send puts an Ethernet frame into a port, from outside. What the device does
// with it is done when Send returns: see Left, Trapped, Group and Counters. The
// first port of the Plan is the fabric's.
func (d *Chaos) Send(port string, frame []byte) {
	d.on(func(c *card) {
		if len(frame) < 14 || !c.hasPort(port) {
			return
		}
		f := slices.Clone(frame)
		if port != c.fabric() && c.egress[port] > 0 && !c.guard(port, f) {
			return
		}
		if t := binary.BigEndian.Uint16(f[12:]); t == ethIPv4 || t == ethIPv6 {
			if h, ok := parse(f[14:]); ok {
				c.forward(h)
			}
		}
	})
}

// Left returns the frames that left by a port since the last call.
func (d *Chaos) Left(port string) (frames [][]byte) {
	d.on(func(c *card) { frames, c.out[port] = c.out[port], nil })
	return frames
}

func (c *card) fabric() string {
	if len(c.plan.Ports) > 0 {
		return c.plan.Ports[0]
	}
	return "fab0"
}

func (c *card) emit(port string, frame []byte) { c.out[port] = append(c.out[port], frame) }

// send wraps a packet for one wire.
func (c *card) send(port string, to MAC, h header) {
	from, proto := chaosGateway, uint16(ethIPv6)
	if port == c.fabric() {
		from = chaosFabric
	}
	if h.is4 {
		proto = ethIPv4
	}
	f := append(append(make([]byte, 0, 14+len(h.b)), to[:]...), from[:]...)
	c.emit(port, append(binary.BigEndian.AppendUint16(f, proto), h.b...))
}

// forward decides one packet and carries it out. The packet is the card's.
func (c *card) forward(h header) {
	if h.dst.IsMulticast() || h.dst.IsLinkLocalUnicast() || h.dst == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return // the hypervisor's own
	}
	if c.trapFor(h) {
		return
	}
	d := c.follow(h, c.decide(h.dst))
	if d.Act == ActRedirect && !c.lawful(h, d) {
		return
	}
	c.carry(h, d)
}

// follow lets the later fragments of a datagram follow the first, where that was
// delivered before a redirect acted.
func (c *card) follow(h header, d Decision) Decision {
	switch key := h.fragmentKey(); {
	case h.whole:
	case !h.first && d.Act == ActRedirect:
		if begun, ok := c.begun[key]; ok {
			return begun
		}
	case h.first && d.Act == ActDeliver:
		c.begun[key] = d
	case h.first:
		delete(c.begun, key)
	}
	return d
}

// count notes a packet for a rule.
func (c *card) count(r hwabstraction.Rule, h header) {
	if r == nil {
		return
	}
	x := &c.rules[r.ID()].counter
	x.Packets++
	x.Bytes += uint64(len(h.b))
	x.LastUse = c.plan.Now()
}

// carry does what was decided.
func (c *card) carry(h header, d Decision) {
	switch d.Act {
	case ActHold:
		c.hold(h, d.Rule.(hwabstraction.Deliver))
		return
	case ActDrop:
		c.drops["unreachable"]++
		return
	case ActLocal:
		return
	}
	if h.hopLimit() <= 1 {
		c.drops["hop_limit"]++
		c.answer(h, timeExceeded(h))
		return
	}
	if r, ok := d.Rule.(hwabstraction.Redirect); ok {
		g := c.groups[r.Stamp]
		if g.FirstHit.IsZero() {
			g.FirstHit = c.plan.Now()
		}
	}
	if d.Restored != d.Rule {
		c.count(d.Restored, h)
	}
	c.count(d.Rule, h)
	if d.Restored != nil {
		h.rewrite(d.Restored.(hwabstraction.Deliver).Restore)
	}
	if d.To != h.dst {
		h.rewrite(d.To)
	}
	h.hop()
	switch r := d.Rule.(type) {
	case hwabstraction.HostRoute:
		if r.Port != "" {
			c.send(r.Port, c.neighbour(r), h)
			return
		}
	case hwabstraction.Deliver:
		if d.Act == ActDeliver {
			c.learn(h.toVM())
			c.send(r.Port, r.MAC, h)
			return
		}
	}
	c.send(c.fabric(), chaosRouter, h)
}

// neighbour is the MAC behind a host route's port, as far as a rule tells it.
func (c *card) neighbour(r hwabstraction.HostRoute) MAC {
	for _, id := range c.ids() {
		if e, ok := c.rules[id].rule.(hwabstraction.Egress); ok && e.Port == r.Port {
			return e.MAC
		}
	}
	return MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
}

func (c *card) learn(k tuple, ok bool) {
	if ok {
		c.seen[k] = true
	}
}

// lawful applies what a Redirect refuses: packets too large for the path, and
// new flows where its policy says so.
func (c *card) lawful(h header, d Decision) bool {
	r := d.Rule.(hwabstraction.Redirect)
	if r.PathMTU > 0 && len(h.b) > int(r.PathMTU) && (!h.is4 || h.b[6]&0x40 != 0) {
		c.drops["too_big"]++
		c.answer(h, tooBig(h, r.PathMTU))
		return false
	}
	if r.New == hwabstraction.NewRedirect || !c.isNew(h, r) {
		return true
	}
	c.drops["new_flow"]++
	if !h.whole {
		c.frags[h.fragmentKey()] = d
	}
	if r.New == hwabstraction.NewReject && h.first {
		c.answer(h, reject(h))
	}
	return false
}

// isNew tells whether a packet begins a flow that did not exist before the
// group was armed. Later fragments follow the first.
func (c *card) isNew(h header, r hwabstraction.Redirect) bool {
	if !h.first {
		_, refused := c.frags[h.fragmentKey()]
		return refused
	}
	if h.icmpError() {
		return false
	}
	k, ok := h.toVM()
	if !ok {
		return true
	}
	if t := h.transport(); h.proto == protoTCP && (len(t) < 14 || t[13]&0x12 != 0x02) {
		return false // only SYN without ACK begins one
	}
	flows := c.groups[r.Stamp].flows
	for _, x := range []tuple{k, {k.proto, k.vm, endpoint(k.peer.Addr)}, {k.proto, endpoint(k.vm.Addr), k.peer}} {
		if flows[x] || c.seen[x] && x == k {
			return false
		}
		if h.proto != protoICMP && h.proto != protoICMPv6 {
			break // the identifier of an echo may stand on either side
		}
	}
	return true
}

func endpoint(a netip.Addr) hwabstraction.Endpoint { return hwabstraction.Endpoint{Addr: a} }

// hold keeps a packet, within the group's bounds.
func (c *card) hold(h header, r hwabstraction.Deliver) {
	g, l, now := c.groups[r.Stamp], c.limit(r.Stamp), c.plan.Now()
	late := len(g.held) > 0 && now.Sub(g.held[0].at) > l.Time
	if late || len(g.held) >= l.Packets || g.bytes+len(h.b) > l.Bytes {
		g.HoldDrops++
		c.drops["hold_full"]++
		return
	}
	g.held = append(g.held, held{by: r.ID(), packet: h.b, at: now})
	g.bytes += len(h.b)
	g.Held++
}

// release sends what is held on its way, decided anew, in order.
func (c *card) release(g *group) {
	waiting, now := g.held, c.plan.Now()
	g.held, g.bytes = nil, 0
	for _, p := range waiting {
		g.MaxHold = max(g.MaxHold, now.Sub(p.at))
		if h, ok := parse(p.packet); ok {
			c.carry(h, c.decide(h.dst))
		}
	}
}

// trapFor gives a packet to the agent where a Trap wants it.
func (c *card) trapFor(h header) bool {
	class := []hwabstraction.Trap{{Address: h.dst, Protocol: h.proto}, {Address: h.dst}}
	if port, has := h.dstPort(); has {
		class = append([]hwabstraction.Trap{{Address: h.dst, Protocol: h.proto, DstPort: port}}, class...)
	}
	for _, t := range class {
		id := t.ID()
		e := c.rules[id]
		if e == nil {
			continue
		}
		rate, now := float64(e.rule.(hwabstraction.Trap).Rate), c.plan.Now()
		if e.counter.Packets == 0 && e.tokens == 0 {
			e.tokens = rate
		}
		e.tokens = min(rate, e.tokens+now.Sub(e.filled).Seconds()*rate)
		e.filled = now
		if e.tokens < 1 {
			c.drops["trap_rate"]++
			return true
		}
		e.tokens--
		c.count(e.rule, h)
		select {
		case c.trap <- hwabstraction.Trapped{ID: id, Frame: h.b}:
		default:
			c.drops["trap_slow"]++
		}
		return true
	}
	return false
}
