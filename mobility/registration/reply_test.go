package registration

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/wire"
)

// TestRepliesThatCount changes one thing of a good Reply: it must be dropped, or
// taken, with its counter.
func TestRepliesThatCount(t *testing.T) {
	t.Parallel()
	type reply struct {
		fixed wire.Reply
		vm    mobility.VMID
		stamp wire.Timestamp
		nonce mobility.Nonce
		auth  Auth
	}
	for _, row := range []struct {
		name   string
		change func(*reply)
		count  []string
		taken  bool
	}{
		{"good", func(*reply) {}, nil, true},
		{"unauthenticated", func(r *reply) { r.auth = AuthFailed }, []string{CountUnauthenticated}, false},
		{"no authenticator", func(r *reply) { r.auth = AuthAbsent }, []string{CountUnauthenticated}, false},
		{"sequence", func(r *reply) { r.fixed.Sequence++ }, []string{CountReplyNotOutstanding}, false},
		{"other VM", func(r *reply) { r.vm = vectorVM }, []string{CountReplyOtherVM}, false},
		{"no VM", func(r *reply) { r.vm = mobility.VMID{} }, nil, true},
		{"timestamp", func(r *reply) { r.stamp++ }, []string{CountReplyTimestamp}, false},
		{"no timestamp", func(r *reply) { r.stamp = 0 }, []string{CountReplyTimestamp}, false},
		{"nonce", func(r *reply) { r.nonce[0]++ }, []string{CountReplyNonce}, false},
		{"no nonce", func(r *reply) { r.nonce = mobility.Nonce{} }, nil, true},
		{"no P flag", func(r *reply) { r.fixed.Flags = 0 }, []string{CountReplyWithoutP}, true},
		{"more lifetime", func(r *reply) { r.fixed.Lifetime = 11 }, []string{CountReplyLifetime}, true},
		{"refusal", func(r *reply) { r.fixed.Status = 129 }, nil, true},
		{"clock without our nonce", func(r *reply) { r.fixed.Status, r.nonce = 156, mobility.Nonce{} }, []string{CountReplyNonce}, false},
		{"sequence refusal that names nothing", func(r *reply) {
			r.fixed.Status, r.vm, r.nonce = 135, mobility.VMID{}, mobility.Nonce{}
		}, []string{CountReplyNotOutstanding}, false},
	} {
		n := newNode(t, RoleHypervisor, nil)
		q := sentBy(t, n.Submit(start, 1, addrM, Request{VM: nai, Lifetime: 10}, nil))
		r := reply{fixed: wire.Reply{Flags: wire.ReplyProxy, Sequence: q.Request.Sequence, Lifetime: 5}, vm: nai, auth: AuthOK}
		r.stamp, _ = q.Timestamp()
		r.nonce, _ = q.Nonce()
		row.change(&r)
		m := replyMessage(t, r.fixed, r.vm, r.stamp, r.nonce)
		var counts []string
		taken := false
		for _, e := range n.Receive(start, Inbound{From: addrM, Message: m, Auth: r.auth}, nil) {
			switch v := e.(type) {
			case Count:
				counts = append(counts, v.Name)
			case Replied:
				taken = true
				if v.Reply.Lifetime > 10 || v.Reply.Status != r.fixed.Status {
					t.Errorf("%s: lifetime %d, status %v", row.name, v.Reply.Lifetime, v.Reply.Status)
				}
			}
		}
		if d := cmp.Diff(row.count, counts); d != "" || taken != row.taken {
			t.Errorf("%s: taken %v, want %v; counters (-want +got):\n%s", row.name, taken, row.taken, d)
		}
	}
}

func replyMessage(t testing.TB, fixed wire.Reply, vm mobility.VMID, stamp wire.Timestamp, nonce mobility.Nonce) *wire.Message {
	t.Helper()
	var b wire.Message
	b.Reset(wire.TypeReply)
	b.Reply = fixed
	if !vm.IsZero() {
		b.AddVMID(vm)
	}
	if stamp != 0 {
		b.AddTimestamp(stamp)
	}
	if !nonce.IsZero() {
		b.AddNonce(nonce)
	}
	raw, err := b.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	m := new(wire.Message)
	if err := m.Parse(raw); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestAnswersThatCannotBeSaid: a Reply that does not encode becomes a bare 128, a
// handle is good once.
func TestAnswersThatCannotBeSaid(t *testing.T) {
	t.Parallel()
	n := newNode(t, RoleManagement, nil)
	raw{flags: wire.RequestProxy, vm: nai, stamp: start, auth: AuthOK}.give(t, n, start)
	out := n.Answer(start, 1, Reply{Deliveries: []mobility.Delivery{{Old: old1, D: ip("192.0.2.1")}}}, nil)
	if m := sentBy(t, out); m.Reply.Status != mobility.StatusUnspecified {
		t.Errorf("status %v, want 128", m.Reply.Status)
	}
	if d := cmp.Diff([]Effect{Count{CountAnswerUnknown}}, n.Answer(start, 1, Reply{}, nil)); d != "" {
		t.Errorf("second answer (-want +got):\n%s", d)
	}
	// And a Request that does not encode ends at once.
	out = n.Submit(start, 7, addrA, Request{VM: mobility.NAI("a b")}, nil)
	want := []Effect{Count{CountRequestUnencodable}, Replied{Token: 7, From: addrA, Reply: Reply{Status: 128, VM: mobility.NAI("a b")}}}
	if d := cmp.Diff(want, out, cmpAddr); d != "" {
		t.Errorf("unencodable Request (-want +got):\n%s", d)
	}
}

func TestBindingErrors(t *testing.T) {
	t.Parallel()
	n := newNode(t, RoleManagement, nil)
	var sent, limited int
	for i := range 20 {
		for _, e := range n.UnknownType(start.Add(time.Duration(i)*100*time.Millisecond), addrA, 64, nil) {
			switch e {
			case Count{CountBindingErrorSent}:
				sent++
			case Count{CountBindingErrorLimited}:
				limited++
			}
		}
	}
	if sent != 5 || limited != 15 {
		t.Errorf("%d sent, %d not, in two seconds; want 4 at once and 1 a second", sent, limited)
	}
	out := n.UnknownType(start, addrB, 16, nil)
	if d := cmp.Diff([]Effect{Count{CountQuestionTooShort}}, out); d != "" {
		t.Errorf("a short question (-want +got):\n%s", d)
	}
	var m wire.Message
	m.Reset(wire.TypeBindingError)
	if d := cmp.Diff([]Effect{Count{CountBindingErrorReceived}}, n.Receive(start, Inbound{From: addrA, Message: &m}, nil)); d != "" {
		t.Errorf("one received (-want +got):\n%s", d)
	}
}

func TestRestoreKeepsTheNewest(t *testing.T) {
	t.Parallel()
	n := newNode(t, RoleManagement, func(c *Config) { c.MaxOrders = 2 })
	var orders []Order
	for i, vm := range []string{"c", "a", "b"} {
		orders = append(orders, Order{VM: mobility.NAI(vm), Sender: addrA, Timestamp: start.Add(time.Duration(3-i) * time.Second), Sequence: 9})
	}
	n.Restore(orders)
	var kept []string
	for vm := range n.peers[addrA].orders {
		kept = append(kept, vm.Bytes)
	}
	slices.Sort(kept)
	if d := cmp.Diff([]string{"a", "c"}, kept); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestReplayOption: the option's time counts for itself (RFC 4285 section 6).
func TestReplayOption(t *testing.T) {
	t.Parallel()
	n := newNode(t, RoleManagement, nil)
	r := raw{flags: wire.RequestProxy, vm: nai, auth: AuthOK}
	for i, step := range []struct {
		stamp, replay time.Duration
		want          string
	}{
		{0, 0, "asked"},
		{time.Second, 0, "144"},               // not newer than the last accepted
		{time.Second, time.Second, "silence"}, // newer; its like is owed
		{time.Second + time.Millisecond, 3 * time.Second, "144"},
	} {
		r.stamp, r.replay = start.Add(step.stamp), start.Add(step.replay)
		if what, _ := r.give(t, n, start.Add(500*time.Millisecond)); what != step.want {
			t.Errorf("step %d: %s, want %s", i, what, step.want)
		}
	}
}

// BenchmarkRegistration is one Request through a management node: checks, Ask,
// Answer, Reply.
func BenchmarkRegistration(b *testing.B) {
	n := newNode(b, RoleManagement, func(c *Config) { c.MaxOrders = 1 << 20 })
	r := raw{flags: wire.RequestProxy, vm: nai, stamp: start, auth: AuthOK, addrs: []wire.VMAddress{wire.HostAddress(old1)}, epoch: 1}
	var m wire.Message
	var out []Effect
	now := start
	msg := r.bytes(b)
	stampAt := slices.Index(msg, byte(wire.OptTimestamp)) // nothing before it holds this byte
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Millisecond)
		t := wire.TimestampOf(now)
		for i := range 8 {
			msg[stampAt+2+i] = byte(t >> (56 - 8*i))
		}
		if err := m.Parse(msg); err != nil {
			b.Fatal(err)
		}
		out = n.Receive(now, Inbound{From: addrA, Message: &m, Bytes: msg, Auth: AuthOK}, out[:0])
		ask, ok := out[len(out)-1].(Ask)
		if !ok {
			b.Fatalf("not asked: %v", out)
		}
		out = n.Answer(now, ask.Handle, Reply{Lifetime: 10, Epoch: 1}, out[:0])
	}
}
