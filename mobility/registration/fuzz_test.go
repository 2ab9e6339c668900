package registration

import (
	"crypto/sha256"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/wire"
)

// chaos is nodes whose messages are lost, repeated, reordered, delayed and
// damaged, driven by random numbers.
type chaos struct {
	t      *testing.T
	rng    *rand.Rand
	now    time.Time
	addrs  []netip.Addr
	nodes  map[netip.Addr]*Node
	wires  []Inbound // Message unset
	owners []netip.Addr
	owed   map[netip.Addr][]Handle
	asked  map[[2]any]time.Time // newest timestamp put to a node by (VM, sender)
	seen   int                  // questions
	ended  int                  // answers
	counts map[string]int
}

func newChaos(t *testing.T, seed uint64) *chaos {
	c := &chaos{
		t: t, rng: rand.New(rand.NewPCG(seed, 0)), now: start, addrs: []netip.Addr{addrM, addrA, addrB},
		nodes: make(map[netip.Addr]*Node), owed: make(map[netip.Addr][]Handle), asked: make(map[[2]any]time.Time), counts: make(map[string]int),
	}
	for i, a := range c.addrs {
		role := []Role{RoleManagement, RoleHypervisor, RoleRouter}[i]
		c.nodes[a] = newNode(t, role, func(cfg *Config) {
			cfg.Self, cfg.Seed, cfg.MaxOpen, cfg.MaxOrders, cfg.Retry = a, seed+uint64(i), 8, 16, 20*time.Millisecond
		})
	}
	return c
}

func (c *chaos) node() (netip.Addr, *Node) {
	a := c.addrs[c.rng.IntN(len(c.addrs))]
	return a, c.nodes[a]
}

func (c *chaos) vm() mobility.VMID { return mobility.NAI(string(rune('a' + c.rng.IntN(20)))) }

// step does one random thing.
func (c *chaos) step() {
	a, n := c.node()
	to, _ := c.node()
	var out []Effect
	switch c.rng.IntN(12) {
	case 0, 1:
		r := Request{VM: c.vm(), Lifetime: mobility.Lifetime(c.rng.IntN(100)), Handoff: mobility.HandoffIndicator(c.rng.IntN(6)), Epoch: mobility.Epoch(c.rng.IntN(3))}
		if c.rng.IntN(2) == 0 {
			r.Pairs = []mobility.Pair{{Old: old1, New: new1}}
		}
		out = n.Submit(c.now, Token(c.rng.IntN(30)), to, r, nil)
	case 2:
		n.Cancel(Token(c.rng.IntN(30)))
	case 3:
		if h := c.owed[a]; len(h) > 0 {
			i := c.rng.IntN(len(h))
			r := Reply{Status: mobility.Status([]uint8{0, 0, 0, 129, 130}[c.rng.IntN(5)]), Lifetime: mobility.Lifetime(c.rng.IntN(200))}
			out = n.Answer(c.now, h[i], r, nil)
			c.owed[a] = append(h[:i], h[i+1:]...)
		}
	case 4:
		out = n.Watch(c.now, to, nil)
	case 5:
		out = n.Notify(c.now, to, uint8(c.rng.IntN(3)), nil)
	case 6:
		out = n.Unreachable(c.now, to, nil)
	case 7:
		c.now = c.now.Add(time.Duration(c.rng.ExpFloat64() * float64(50*time.Millisecond)))
		out = n.Tick(c.now, nil)
	case 8:
		n.Unwatch(to)
	default:
		c.receive()
		return
	}
	c.note(a, out)
}

// receive delivers a random message: perhaps not the last time, perhaps damaged.
func (c *chaos) receive() {
	if len(c.wires) == 0 {
		return
	}
	i := c.rng.IntN(len(c.wires))
	in, to := c.wires[i], c.owners[i]
	if c.rng.IntN(3) > 0 {
		c.wires = append(c.wires[:i], c.wires[i+1:]...)
		c.owners = append(c.owners[:i], c.owners[i+1:]...)
	}
	if c.rng.IntN(4) == 0 {
		b := append([]byte(nil), in.Bytes...)
		b[c.rng.IntN(len(b))] ^= 1 << c.rng.IntN(8)
		in.Bytes, in.Auth = b, AuthFailed
	}
	in.Message = new(wire.Message)
	if in.Message.Parse(in.Bytes) != nil && c.rng.IntN(2) == 0 {
		return // the transport passes on only those of unknown type
	}
	c.note(to, c.nodes[to].Receive(c.now, in, nil))
}

func (c *chaos) note(a netip.Addr, out []Effect) {
	for _, e := range out {
		switch v := e.(type) {
		case Send:
			c.wires = append(c.wires, Inbound{From: a, Bytes: v.Payload, Auth: AuthOK})
			c.owners = append(c.owners, v.To)
		case Ask:
			c.seen++
			c.owed[a] = append(c.owed[a], v.Handle)
			key := [2]any{v.Request.VM, [2]netip.Addr{a, v.From}}
			if !v.Order.Timestamp.After(c.asked[key]) || !v.Order.Timestamp.Equal(v.Request.Timestamp) {
				c.t.Fatalf("asked about %v of %v after %v", v.Request.VM, v.Request.Timestamp, c.asked[key])
			}
			c.asked[key] = v.Order.Timestamp
			if v.Request.VM.Validate() != nil {
				c.t.Fatalf("asked about %q", v.Request.VM)
			}
		case Replied:
			c.ended++
		case Count:
			c.counts[v.Name]++
		}
	}
}

// bounded checks what a peer may make a node keep.
func (c *chaos) bounded() {
	for a, n := range c.nodes {
		for _, p := range n.peers {
			switch {
			case len(p.orders) > 16 || p.recent.Len() != len(p.orders):
				c.t.Fatalf("%v keeps %d orders, %d in its list", a, len(p.orders), p.recent.Len())
			case p.cached.Len() > 8 || p.asks > 8 || p.asks < 0:
				c.t.Fatalf("%v keeps %d replies, %d asks", a, p.cached.Len(), p.asks)
			case p.inFlight > 8 || p.inFlight < 0 || len(p.sent) > 8*maxOutstanding || len(p.notices) > 8:
				c.t.Fatalf("%v has %d in flight, %d transmissions, %d notices", a, p.inFlight, len(p.sent), len(p.notices))
			}
		}
		if len(n.open) == 0 && len(n.asks) == 0 {
			continue
		}
		if next, ok := n.Next(); len(n.open) > 0 && (!ok || next.IsZero()) {
			c.t.Fatalf("%v has open Requests and no timer", a)
		}
	}
}

func TestRandomConversations(t *testing.T) {
	t.Parallel()
	asked, replied := 0, 0
	for seed := range uint64(150) {
		c := newChaos(t, seed)
		for range 800 {
			c.step()
			c.bounded()
		}
		for name := range c.counts {
			if !slices.Contains(Counters(), name) {
				t.Errorf("counter %s is not listed", name)
			}
		}
		asked, replied = asked+c.seen, replied+c.ended
	}
	if asked < 1000 || replied < 100 {
		t.Errorf("%d questions, %d answers: the test talks past itself", asked, replied)
	}
}

// TestRunsCanBeReplayed: the same seed gives the same messages.
func TestRunsCanBeReplayed(t *testing.T) {
	t.Parallel()
	run := func() [sha256.Size]byte {
		c, sum := newChaos(t, 42), sha256.New()
		for range 2000 {
			c.step()
			if len(c.wires) > 0 {
				sum.Write(c.wires[len(c.wires)-1].Bytes)
			}
		}
		return [sha256.Size]byte(sum.Sum(nil))
	}
	if first, second := run(), run(); first != second {
		t.Error("two runs of one seed differ")
	}
}

// FuzzReceive gives any message to a node of each role, twice: it must not
// panic, nor ask the same twice.
func FuzzReceive(f *testing.F) {
	good := raw{flags: wire.RequestProxy, vm: nai, stamp: start, careOf: "2001:db8:a::1",
		addrs: []wire.VMAddress{wire.HostAddress(old1), wire.HostAddress(new1)}, epoch: 1}
	f.Add(good.bytes(f), uint8(AuthOK))
	good.stamp = time.Time{}
	f.Add(good.bytes(f), uint8(AuthNotRequired))
	for _, t := range []wire.Type{wire.TypeReply, wire.TypeHeartbeat, wire.TypeRevocation, wire.TypeUpdateNotification, wire.TypeUpdateAck, wire.TypeBindingError} {
		var m wire.Message
		m.Reset(t)
		m.AddVMID(nai)
		m.AddTimestamp(wire.TimestampOf(start))
		b, err := m.Append(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, uint8(AuthOK))
	}
	f.Fuzz(func(t *testing.T, b []byte, auth uint8) {
		var m wire.Message
		if m.Parse(b) != nil {
			return
		}
		for _, role := range []Role{RoleManagement, RoleHypervisor, RoleRouter} {
			n := newNode(t, role, nil)
			from, asks := addrM, 0
			if role == RoleManagement {
				from = addrA
			}
			for range 2 {
				for _, e := range n.Receive(start, Inbound{From: from, Message: &m, Bytes: b, Auth: Auth(auth)}, nil) {
					switch v := e.(type) {
					case Ask:
						asks++
					case Send:
						if v.Limit > 0 && len(v.Payload) > len(b) {
							t.Errorf("%d bytes answer %d", len(v.Payload), len(b))
						}
					}
				}
			}
			if asks > 1 || asks > 0 && Auth(auth) != AuthOK && Auth(auth) != AuthNotRequired {
				t.Errorf("%v: %d questions, authentication %d", role, asks, auth)
			}
		}
	})
}
