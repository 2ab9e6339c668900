package registration

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/wire"
)

// raw is a Request built by hand, with what may be wrong with it.
type raw struct {
	sequence uint16
	flags    wire.RequestFlags
	vm       mobility.VMID // zero: left out
	stamp    time.Time     // zero: left out
	replay   time.Time     // zero: left out
	careOf   string
	addrs    []wire.VMAddress
	epoch    mobility.Epoch
	auth     Auth
}

func (r raw) bytes(t testing.TB) []byte {
	t.Helper()
	var m wire.Message
	m.Reset(wire.TypeRequest)
	m.Request = wire.Request{Sequence: r.sequence, Flags: r.flags, Lifetime: 10}
	if !r.vm.IsZero() {
		m.AddVMID(r.vm)
	}
	for _, a := range r.addrs {
		m.AddVMAddress(a)
	}
	if !r.replay.IsZero() {
		m.AddReplayProtection(wire.NTPTimeOf(r.replay))
	}
	if !r.stamp.IsZero() {
		m.AddTimestamp(wire.TimestampOf(r.stamp))
	}
	if r.epoch != 0 {
		m.AddEpoch(r.epoch)
	}
	if r.careOf != "" {
		m.AddAlternateCareOf(ip(r.careOf))
	}
	b, err := m.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// give lets n receive it and tells what came of it: the status of the answer, or
// "asked", or "silence", and the counters.
func (r raw) give(t testing.TB, n *Node, now time.Time) (string, []string) {
	t.Helper()
	from := addrA
	if n.cfg.Role != RoleManagement {
		from = addrM
	}
	b := r.bytes(t)
	var m wire.Message
	if err := m.Parse(b); err != nil {
		t.Fatal(err)
	}
	what, counts := "silence", []string(nil)
	for _, e := range n.Receive(now, Inbound{From: from, Message: &m, Bytes: b, Auth: r.auth}, nil) {
		switch v := e.(type) {
		case Ask:
			what = "asked"
		case Count:
			counts = append(counts, v.Name)
		case Send:
			var a wire.Message
			if err := a.Parse(v.Payload); err != nil {
				t.Fatal(err)
			}
			what = fmt.Sprint(uint8(a.Reply.Status))
			if v.Limit > 0 && len(v.Payload) > len(b) {
				t.Errorf("an answer of %d bytes to %d", len(v.Payload), len(b))
			}
		}
	}
	return what, counts
}

// TestOrderOfChecks gives a Request everything that is wrong from a row on: the
// row's status must win.
func TestOrderOfChecks(t *testing.T) {
	t.Parallel()
	now := start.Add(time.Hour)
	good := raw{
		sequence: 1, flags: wire.RequestAck | wire.RequestProxy, vm: nai, stamp: now, replay: now, auth: AuthOK,
		addrs: []wire.VMAddress{wire.HostAddress(old1), wire.HostAddress(new1)}, epoch: 2,
	}
	rows := []struct {
		status, count string
		role          Role
		spoil         func(*raw)
	}{
		{"146", CountRequestAuthFailed, 0, func(r *raw) { r.auth = AuthFailed }},
		{"145", CountRequestReplayMissing, 0, func(r *raw) { r.replay = time.Time{} }},
		{"144", CountRequestReplayMismatch, 0, func(r *raw) { r.replay = now.Add(-time.Minute) }},
		{"131", CountRequestNotProxy, 0, func(r *raw) { r.flags = wire.RequestAck }},
		{"160", CountRequestNoVM, 0, func(r *raw) { r.vm = mobility.VMID{} }},
		{"156", CountRequestWindow, 0, func(r *raw) { r.stamp = now.Add(-2001 * time.Millisecond) }},
		{"154", CountRequestLocator, RoleManagement, func(r *raw) { r.careOf = "2001:db8:b::1" }},
		{"141", CountRequestPrefix, 0, func(r *raw) { r.addrs[0].Bits = 64 }},
		{"159", CountRequestOddPairs, RoleHypervisor, func(r *raw) { r.addrs = r.addrs[:1] }},
		{"asked", CountRequestAsked, 0, func(*raw) {}},
	}
	for i, row := range rows {
		for _, role := range []Role{RoleManagement, RoleHypervisor, RoleRouter} {
			if row.role == RoleManagement != (role == RoleManagement) && row.role != 0 {
				continue
			}
			n := newNode(t, role, func(c *Config) { c.RequireReplayOption = true })
			r := good
			r.addrs = append([]wire.VMAddress(nil), good.addrs...)
			for j := len(rows) - 1; j >= i; j-- {
				// 145 is the option's absence, 144 its value: one of the two.
				// 141 and 159 are told apart by which addresses there are.
				if rows[j].status == "144" && row.status == "145" || rows[j].status == "159" && row.status != "159" {
					continue
				}
				rows[j].spoil(&r)
			}
			what, counts := r.give(t, n, now)
			if d := cmp.Diff([]string{row.count}, counts); d != "" || what != row.status {
				t.Errorf("%v, wrong from %s on: %s (-want +got)\n%s", role, row.status, what, d)
			}
		}
	}
}

func TestAuthenticationVerdicts(t *testing.T) {
	t.Parallel()
	good := raw{flags: wire.RequestProxy, vm: nai, stamp: start}
	for auth, want := range map[Auth]string{AuthInvalid: "146", AuthFailed: "146", AuthAbsent: "146", AuthOK: "asked", AuthNotRequired: "asked"} {
		good.auth = auth
		if what, _ := good.give(t, newNode(t, RoleManagement, nil), start); what != want {
			t.Errorf("authentication %d: %s, want %s", auth, what, want)
		}
	}
}

func TestTimestampOrder(t *testing.T) {
	t.Parallel()
	n := newNode(t, RoleManagement, nil)
	r := raw{flags: wire.RequestProxy, vm: nai, auth: AuthOK}
	vm2 := raw{flags: wire.RequestProxy, vm: mobility.NAI("vm2@dc1.example"), auth: AuthOK}
	const ms = time.Millisecond
	for i, step := range []struct {
		r          raw
		now, stamp time.Duration
		sequence   uint16
		epoch      mobility.Epoch // makes another content
		want       string
	}{
		{r, 0, 2001 * ms, 1, 1, "156"},     // ahead of the window
		{r, 0, 2000 * ms, 1, 1, "asked"},   // at its end
		{r, 0, 1000 * ms, 2, 2, "157"},     // older
		{r, 0, 2000 * ms, 3, 2, "157"},     // same, other bytes
		{r, 0, 2000 * ms, 1, 1, "silence"}, // same bytes, answer owed
		{vm2, 0, 1000 * ms, 2, 1, "asked"}, // another VM has its own order
		{r, 1000 * ms, 2001 * ms, 4, 2, "asked"},
		{r, 5000 * ms, 2900 * ms, 5, 3, "156"},     // behind the window
		{r, 5000 * ms, 3000 * ms, 5, 2, "silence"}, // sent again while its answer is owed
		{r, 5000 * ms, 3000 * ms, 6, 3, "157"},
	} {
		step.r.stamp, step.r.sequence, step.r.epoch = start.Add(step.stamp), step.sequence, step.epoch
		if what, counts := step.r.give(t, n, start.Add(step.now)); what != step.want {
			t.Errorf("step %d: %s %v, want %s", i, what, counts, step.want)
		}
	}
}

func TestSequenceOrder(t *testing.T) {
	t.Parallel()
	n := newNode(t, RoleManagement, nil)
	for i, step := range []struct {
		sequence uint16
		epoch    mobility.Epoch // makes another content
		want     string
	}{
		{65000, 1, "asked"},   // the first may be any
		{65000, 2, "135"},     // 0 ahead, other bytes
		{65000, 1, "silence"}, // the same again, its answer owed
		{65001, 2, "asked"},
		{65000, 3, "135"},   // -1
		{32233, 4, "asked"}, // 32768 ahead
		{65002, 5, "135"},   // 32769 ahead
		{32234, 6, "asked"},
	} {
		r := raw{flags: wire.RequestProxy, vm: nai, auth: AuthOK, sequence: step.sequence, epoch: step.epoch}
		if what, counts := r.give(t, n, start); what != step.want {
			t.Errorf("step %d, sequence %d: %s %v, want %s", i, step.sequence, what, counts, step.want)
		}
	}
}

// TestSequenceRefusal: it carries the last accepted number, which a requester
// adjusts to.
func TestSequenceRefusal(t *testing.T) {
	t.Parallel()
	n := newNode(t, RoleManagement, nil)
	r := raw{flags: wire.RequestProxy, vm: nai, auth: AuthOK, sequence: 500}
	r.give(t, n, start)
	r.sequence = 400
	b := r.bytes(t)
	var m wire.Message
	if err := m.Parse(b); err != nil {
		t.Fatal(err)
	}
	out := n.Receive(start, Inbound{From: addrA, Message: &m, Bytes: b, Auth: AuthOK}, nil)
	refusal := sentBy(t, out)
	if refusal.Reply.Status != mobility.StatusSequence || refusal.Reply.Sequence != 500 {
		t.Fatalf("refusal %v with sequence %d, want 135 with 500", refusal.Reply.Status, refusal.Reply.Sequence)
	}

	a := newNode(t, RoleHypervisor, nil)
	first := sentBy(t, a.Submit(start, 9, addrM, Request{VM: nai, Lifetime: 10}, nil))
	second := sentBy(t, a.Receive(start, Inbound{From: addrM, Message: refusal, Bytes: b, Auth: AuthOK}, nil))
	if second.Request.Sequence != 501 {
		t.Errorf("sent again with sequence %d after %d, want 501", second.Request.Sequence, first.Request.Sequence)
	}
}

// sentBy gives the one message among effects.
func sentBy(t testing.TB, out []Effect) *wire.Message {
	t.Helper()
	var found *wire.Message
	for _, e := range out {
		s, ok := e.(Send)
		if !ok {
			continue
		}
		if found != nil {
			t.Fatal("two messages")
		}
		found = new(wire.Message)
		if err := found.Parse(s.Payload); err != nil {
			t.Fatal(err)
		}
	}
	if found == nil {
		t.Fatalf("no message in %v", out)
	}
	return found
}

func TestHowListsAreRead(t *testing.T) {
	t.Parallel()
	v4 := ip("192.0.2.42")
	two := []wire.VMAddress{wire.HostAddress(old1), wire.HostAddress(new1)}
	type result struct{ Slots, Pairs int }
	for _, row := range []struct {
		name   string
		role   Role
		r      raw
		status mobility.Status
		want   result
	}{
		{"from a hypervisor, always slots", RoleManagement, raw{addrs: two, epoch: 3, careOf: "2001:db8:a::1"}, 0, result{2, 0}},
		{"epoch", RoleHypervisor, raw{addrs: two, epoch: 3}, 0, result{0, 1}},
		{"option 3 alone, even", RoleHypervisor, raw{addrs: two, careOf: "2001:db8:b::1"}, 0, result{0, 1}},
		{"option 3 alone, odd", RoleHypervisor, raw{addrs: two[:1], careOf: "2001:db8:b::1"}, 0, result{1, 0}},
		{"plain", RoleRouter, raw{addrs: two}, 0, result{2, 0}},
		{"epoch, one of each family", RoleRouter, raw{addrs: []wire.VMAddress{wire.HostAddress(old1), wire.HostAddress(v4)}, epoch: 3},
			mobility.StatusPairMismatch, result{}},
		{"epoch, both families", RoleRouter, raw{addrs: append(two, wire.HostAddress(v4), wire.HostAddress(v4)), epoch: 3}, 0, result{0, 2}},
		{"prefix", RoleManagement, raw{addrs: []wire.VMAddress{{Addr: v4, Bits: 24}}}, mobility.StatusMalformedPrefix, result{}},
		{"none", RoleHypervisor, raw{epoch: 3}, 0, result{}},
	} {
		var m wire.Message
		if err := m.Parse(row.r.bytes(t)); err != nil {
			t.Fatal(err)
		}
		r, status := unpackRequest(&m, row.role)
		if got := (result{len(r.Slots), len(r.Pairs)}); got != row.want || status != row.status {
			t.Errorf("%s: %+v %v, want %+v %v", row.name, got, status, row.want, row.status)
		}
	}
}
