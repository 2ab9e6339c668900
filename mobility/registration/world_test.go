package registration

import (
	"bytes"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/wire"
)

// start is when the world of a script begins.
var start = time.Unix(1767225600, 0).UTC()

// world is a few nodes, the messages between them, and a clock. Nothing is
// delivered or answered unless the script says so.
type world struct {
	t     *testing.T
	now   time.Time
	names []string // of nodes, in the order they came
	nodes map[string]*member
	wires []packet
	saved map[string]packet
	out   strings.Builder
}

// member is a node and how far its clock is off.
type member struct {
	*Node
	skew time.Duration
}

// packet is a message on its way.
type packet struct {
	from, to string
	bytes    []byte
	auth     Auth
}

var addresses = map[string]netip.Addr{"m": addrM, "a": addrA, "b": addrB}

func nameOf(a netip.Addr) string {
	for name, x := range addresses {
		if x == a {
			return name
		}
	}
	return a.String()
}

func newWorld(t *testing.T) *world {
	return &world{t: t, now: start, nodes: make(map[string]*member), saved: make(map[string]packet)}
}

// args are the key=value words of a command.
type args map[string]string

func (a args) duration(t *testing.T, key string) time.Duration {
	if a[key] == "" {
		return 0
	}
	d, err := time.ParseDuration(a[key])
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (a args) number(t *testing.T, key string) int {
	if a[key] == "" {
		return 0
	}
	n, err := strconv.Atoi(a[key])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// run does one command and gives what it prints.
//
//	node NAME role=R [skew=D] [retry=D] [heartbeat=D] [open=N] [orders=N] [restart=N]
//	skew NAME D                     steps a node's clock
//	submit NAME TOKEN TO [key=value], cancel NAME TOKEN
//	answer NAME HANDLE [status=N] [life=N] [epoch=N]
//	deliver [auth=failed|absent]    everything on its way, and what that causes
//	drop                            everything on its way
//	save NAME                       the newest message on its way, as NAME
//	replay NAME [from=N] [auth=]    puts a saved message on its way again
//	advance D                       lets time pass, tick by tick
//	watch, unwatch, notify, revoke, unreachable NAME PEER [...]
//	offset NAME, restore NAME SENDER VM +D
func (w *world) run(line string) string {
	w.out.Reset()
	words := strings.Fields(line)
	a := args{}
	var plain []string
	for _, f := range words[1:] {
		if k, v, ok := strings.Cut(f, "="); ok {
			a[k] = v
		} else {
			plain = append(plain, f)
		}
	}
	switch words[0] {
	case "node":
		w.addNode(plain[0], a)
	case "deliver":
		w.deliver(a)
	case "drop":
		fmt.Fprintf(&w.out, "%d lost\n", len(w.wires))
		w.wires = nil
	case "save":
		w.saved[plain[0]] = w.wires[len(w.wires)-1]
	case "replay":
		w.replay(plain[0], a)
	case "advance":
		d, err := time.ParseDuration(plain[0])
		if err != nil {
			w.t.Fatal(err)
		}
		w.advance(w.now.Add(d))
	default:
		w.runOn(words[0], plain, a)
	}
	return w.out.String()
}

// runOn does a command of one node.
func (w *world) runOn(cmd string, plain []string, a args) {
	name := plain[0]
	n := w.nodes[name]
	if n == nil {
		w.t.Fatalf("no node %s", name)
	}
	now := w.now.Add(n.skew)
	var out []Effect
	switch cmd {
	case "skew":
		d, err := time.ParseDuration(plain[1])
		if err != nil {
			w.t.Fatal(err)
		}
		n.skew += d
		return
	case "submit":
		token, _ := strconv.Atoi(plain[1])
		out = n.Submit(now, Token(token), addresses[plain[2]], w.request(a), nil)
	case "cancel":
		token, _ := strconv.Atoi(plain[1])
		n.Cancel(Token(token))
	case "answer":
		h, _ := strconv.Atoi(plain[1])
		r := Reply{Status: mobility.Status(a.number(w.t, "status")), Lifetime: mobility.Lifetime(a.number(w.t, "life")), Epoch: mobility.Epoch(a.number(w.t, "epoch"))}
		out = n.Answer(now, Handle(h), r, nil)
	case "watch":
		out = n.Watch(now, addresses[plain[1]], nil)
	case "unwatch":
		n.Unwatch(addresses[plain[1]])
	case "notify":
		out = n.Notify(now, addresses[plain[1]], uint8(a.number(w.t, "reason")), nil)
	case "revoke":
		out = n.Revoke(now, addresses[plain[1]], mobility.NAI(plain[2]), 1, nil)
	case "unreachable":
		out = n.Unreachable(now, addresses[plain[1]], nil)
	case "offset":
		fmt.Fprintf(&w.out, "offset %v synced %v\n", n.Offset().Round(time.Millisecond), n.Synced())
	case "restore":
		d, err := time.ParseDuration(plain[3])
		if err != nil {
			w.t.Fatal(err)
		}
		n.Restore([]Order{{VM: mobility.NAI(plain[2]), Sender: addresses[plain[1]], Timestamp: start.Add(d)}})
	default:
		w.t.Fatalf("unknown command %q", cmd)
	}
	w.effects(name, out)
}

func (w *world) addNode(name string, a args) {
	roles := map[string]Role{"management": RoleManagement, "hypervisor": RoleHypervisor, "router": RoleRouter}
	cfg := Config{
		Role: roles[a["role"]], Self: addresses[name], Management: []netip.Addr{addrM}, Seed: uint64(len(w.nodes) + 1),
		Retry: a.duration(w.t, "retry"), Heartbeat: a.duration(w.t, "heartbeat"),
		MaxOpen: a.number(w.t, "open"), MaxOrders: a.number(w.t, "orders"), RestartCount: uint32(a.number(w.t, "restart")),
		RequireReplayOption: a["replay"] == "required",
	}
	n, err := NewNode(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	if w.nodes[name] == nil {
		w.names = append(w.names, name)
	}
	w.nodes[name] = &member{Node: n, skew: a.duration(w.t, "skew")}
}

func (w *world) request(a args) Request {
	r := Request{VM: mobility.NAI(a["vm"]), Lifetime: mobility.Lifetime(a.number(w.t, "life")), Handoff: mobility.HandoffIndicator(a.number(w.t, "hi")),
		Epoch: mobility.Epoch(a.number(w.t, "epoch"))}
	for s := range strings.SplitSeq(a["slots"], ",") {
		if s != "" {
			r.Slots = append(r.Slots, ip(s))
		}
	}
	for s := range strings.SplitSeq(a["pairs"], ",") {
		if old, to, ok := strings.Cut(s, ">"); ok {
			r.Pairs = append(r.Pairs, mobility.Pair{Old: ip(old), New: ip(to)})
		}
	}
	if a["careof"] != "" {
		r.CareOf = addresses[a["careof"]]
	}
	return r
}

func (w *world) deliver(a args) {
	for rounds := 0; len(w.wires) > 0; rounds++ {
		if rounds == 100 {
			w.t.Fatal("the nodes do not stop talking")
		}
		p := w.wires[0]
		w.wires = w.wires[1:]
		switch a["auth"] {
		case "failed":
			p.auth = AuthFailed
		case "absent":
			p.auth = AuthAbsent
		}
		n := w.nodes[p.to]
		if n == nil {
			continue
		}
		var m wire.Message
		if err := m.Parse(p.bytes); err != nil {
			w.t.Fatal(err)
		}
		w.effects(p.to, n.Receive(w.now.Add(n.skew), Inbound{From: addresses[p.from], Message: &m, Bytes: p.bytes, Auth: p.auth}, nil))
		a = nil // the answers are as they are
	}
}

func (w *world) replay(name string, a args) {
	p := w.saved[name]
	p.bytes = bytes.Clone(p.bytes)
	if a["from"] != "" {
		p.from = a["from"]
	}
	if a["change"] != "" { // its last byte that is not a pad's
		p.bytes[9] ^= 1
	}
	w.wires = append(w.wires, p)
}

// advance ticks every node at the moments it asked for, until the time given.
func (w *world) advance(until time.Time) {
	for {
		var first string
		at := until
		for _, name := range w.names {
			n := w.nodes[name]
			if next, ok := n.Next(); ok && next.Add(-n.skew).Before(at) {
				first, at = name, next.Add(-n.skew)
			}
		}
		if first == "" {
			w.now = until
			return
		}
		if at.After(w.now) {
			w.now = at
		}
		n := w.nodes[first]
		w.effects(first, n.Tick(w.now.Add(n.skew), nil))
	}
}

// effects prints what a node wants and puts its messages on their way.
func (w *world) effects(name string, out []Effect) {
	for _, e := range out {
		fmt.Fprintf(&w.out, "%s %s ", w.since(w.now), name)
		switch v := e.(type) {
		case Send:
			auth := AuthOK
			if v.Unauthenticated {
				auth = AuthAbsent
			}
			w.wires = append(w.wires, packet{from: name, to: nameOf(v.To), bytes: v.Payload, auth: auth})
			fmt.Fprintf(&w.out, "-> %s: %s\n", nameOf(v.To), w.describe(v))
		case Ask:
			fmt.Fprintf(&w.out, "ASK %d from %s: %s\n", v.Handle, nameOf(v.From), w.describeRequest(&v.Request))
		case Replied:
			fmt.Fprintf(&w.out, "REPLIED %d from %s: %s, lifetime %d, epoch %d\n", v.Token, nameOf(v.From), v.Reply.Status, v.Reply.Lifetime, v.Reply.Epoch)
		case Unanswered:
			fmt.Fprintf(&w.out, "UNANSWERED %d by %s, tries %d, refused %v\n", v.Token, nameOf(v.To), v.Tries, v.Refused)
		case PeerUp:
			fmt.Fprintf(&w.out, "UP %s, restart counter %d, restarted %v\n", nameOf(v.Peer), v.Restart, v.Restarted)
		case PeerDown:
			fmt.Fprintf(&w.out, "DOWN %s\n", nameOf(v.Peer))
		case RegisterAgain:
			fmt.Fprintf(&w.out, "REGISTER AGAIN, says %s\n", nameOf(v.From))
		case Revoked:
			fmt.Fprintf(&w.out, "REVOKED %s, says %s, trigger %d\n", v.VM, nameOf(v.From), v.Trigger)
		case ClockOffset:
			fmt.Fprintf(&w.out, "OFFSET %v\n", v.Offset.Round(time.Millisecond))
		case Count:
			fmt.Fprintf(&w.out, "count %s\n", v.Name)
		}
	}
}

func (w *world) since(t time.Time) string { return fmt.Sprintf("%.3f", t.Sub(start).Seconds()) }

func (w *world) describe(s Send) string {
	var m wire.Message
	if err := m.Parse(s.Payload); err != nil {
		w.t.Fatalf("a message that cannot be read: %v", err)
	}
	var b strings.Builder
	switch m.Type {
	case wire.TypeRequest:
		fmt.Fprintf(&b, "request seq %d lifetime %d", m.Request.Sequence, m.Request.Lifetime)
	case wire.TypeReply:
		fmt.Fprintf(&b, "reply seq %d %q lifetime %d", m.Reply.Sequence, m.Reply.Status, m.Reply.Lifetime)
	case wire.TypeHeartbeat:
		fmt.Fprintf(&b, "heartbeat seq %d answer %v", m.Heartbeat.Sequence, m.IsAnswer())
	case wire.TypeUpdateNotification:
		fmt.Fprintf(&b, "update notification seq %d reason %d", m.UpdateNotification.Sequence, m.UpdateNotification.Reason)
	case wire.TypeUpdateAck:
		fmt.Fprintf(&b, "update ack seq %d status %d", m.UpdateAck.Sequence, m.UpdateAck.Status)
	case wire.TypeRevocation:
		fmt.Fprintf(&b, "revocation seq %d code %d answer %v", m.Revocation.Sequence, m.Revocation.Code, m.IsAnswer())
	default:
		fmt.Fprintf(&b, "%s", m.Type)
	}
	if id, ok := m.VMID(); ok {
		fmt.Fprintf(&b, " vm %s", id)
	}
	if t, ok := m.Timestamp(); ok {
		fmt.Fprintf(&b, " time %s", w.since(t.Time()))
	}
	if _, ok := m.Nonce(); ok {
		b.WriteString(" nonce")
	}
	if v, ok := m.RestartCounter(); ok {
		fmt.Fprintf(&b, " restart %d", v)
	}
	if s.Unauthenticated {
		b.WriteString(" unauthenticated")
	}
	return b.String()
}

func (w *world) describeRequest(r *Request) string {
	s := fmt.Sprintf("vm %s lifetime %d time %s", r.VM, r.Lifetime, w.since(r.Timestamp))
	if len(r.Slots) > 0 {
		s += fmt.Sprintf(" slots %v", r.Slots)
	}
	for _, p := range r.Pairs {
		s += fmt.Sprintf(" pair %s>%s", p.Old, p.New)
	}
	return s
}
