package mgmt

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
	"github.com/dpmip/dpmip/mobility/wire"
)

var vm1 = mobility.NAI("vm1")

// moved gives a world in which vm1 has moved from a to b.
func moved(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, testInventory)
	w.wait(2 * time.Second)
	for _, cmd := range []string{"register vm1 a 2001:db8:a:1::1", "prepare vm1 b", "activate vm1 b"} {
		w.exec(strings.Fields(cmd))
	}
	return w
}

// replies lists the Replies among effects.
func replies(t *testing.T, effects []Effect) []mobility.Status {
	t.Helper()
	var list []mobility.Status
	for _, e := range effects {
		s, ok := e.(Send)
		if !ok {
			continue
		}
		var m wire.Message
		if err := m.Parse(s.Payload); err != nil {
			t.Fatal(err)
		}
		if m.Type == wire.TypeReply {
			list = append(list, m.Reply.Status)
		}
	}
	return list
}

// ask gives the Request's bytes to the Core and returns what it does at once.
func (w *world) ask(host string, r registration.Request) []Effect {
	w.t.Helper()
	h := w.hosts[host]
	h.tokens++
	r.CareOf = h.at
	for _, e := range h.node.Submit(w.now, h.tokens, self, r, nil) {
		if s, ok := e.(registration.Send); ok {
			var m wire.Message
			if err := m.Parse(s.Payload); err != nil {
				w.t.Fatal(err)
			}
			return w.core.Step(w.now, Received{registration.Inbound{From: h.at, Message: &m, Bytes: s.Payload, Auth: registration.AuthOK}})
		}
	}
	w.t.Fatal("no message")
	return nil
}

func commitID(t *testing.T, effects []Effect) uint64 {
	t.Helper()
	for _, e := range effects {
		if c, ok := e.(Commit); ok {
			return c.ID
		}
	}
	t.Fatal("no Commit")
	return 0
}

func first(vm string, a string) registration.Request {
	return registration.Request{VM: mobility.NAI(vm), Handoff: mobility.HandoffNew, Lifetime: 10, Slots: []addr{mustAddr(a)}}
}

func TestReplyLeavesAfterTheWrite(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testInventory)
	w.settle()
	effects := w.ask("a", first("vm1", "2001:db8:a:1::1"))
	if r := replies(t, effects); r != nil {
		t.Fatalf("answered before the write is durable: %v", r)
	}
	effects = w.core.Step(w.now, Committed{Through: commitID(t, effects)})
	if r := replies(t, effects); len(r) != 1 || r[0] != mobility.StatusAccepted {
		t.Errorf("after the write: %v", r)
	}
}

func TestFailedCommitsAreTakenBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testInventory)
	w.settle()
	one := commitID(t, w.ask("a", first("vm1", "2001:db8:a:1::1")))
	w.ask("a", first("vm2", "2001:db8:a:1::2"))
	w.core.Step(w.now, Committed{Through: one})
	two := one + 1
	w.ask("b", first("vm3", "2001:db8:b:1::3"))
	effects := w.core.Step(w.now, CommitFailed{From: two, Err: errors.New("disk full")})
	if d := cmp.Diff([]mobility.Status{mobility.StatusResources, mobility.StatusResources}, replies(t, effects)); d != "" {
		t.Errorf("replies (-want +got):\n%s", d)
	}
	var left []string
	for _, b := range w.core.Bindings("", "", 0) {
		left = append(left, b.VM.String())
	}
	if d := cmp.Diff([]string{"vm1"}, left); d != "" {
		t.Errorf("bindings (-want +got):\n%s", d)
	}
	if _, taken := w.core.byAddr[mustAddr("2001:db8:b:1::3")]; taken {
		t.Error("an address of a binding that was taken back is still owned")
	}
}

func TestReceipt(t *testing.T) {
	t.Parallel()
	w := moved(t)
	held := HolderReport{Hypervisor: "b", Role: "destination", HeldPackets: 1 << 60, MaxHold: 3 * time.Millisecond}
	for _, h := range []HolderReport{{Hypervisor: "a", Role: "source", RedirectedPackets: 7}, {Hypervisor: "b", Role: "destination"}, held} {
		if d := w.command(func(id CommandID) Event { return Report{ID: id, VM: vm1, Epoch: 2, Holder: h} }); d.Err != nil {
			t.Fatal(d.Err)
		}
	}
	m := w.core.Move(vm1, 0)
	if err := m.Receipt.Verify(); err != nil {
		t.Fatal(err)
	}
	if len(m.Holders) != 2 || m.Holders[1] != held || !m.Receipt.Final {
		t.Errorf("holders %+v, final %v", m.Holders, m.Receipt.Final)
	}
	var said map[string]any
	if err := json.Unmarshal(m.Receipt.Signed, &said); err != nil {
		t.Fatal(err)
	}
	if _, there := said["endpoints"]; there {
		t.Error("endpoint figures that nobody counted are in the receipt")
	}
	if !bytes.Contains(m.Receipt.Signed, []byte(`"held_packets":1152921504606846976`)) {
		t.Errorf("a large counter lost its digits: %s", m.Receipt.Signed)
	}
	again, err := canonical(said)
	if err != nil || !bytes.HasPrefix(again, []byte(`{"deliveries":`)) {
		t.Errorf("not canonical: %s (%v)", again, err)
	}
	if d := w.command(func(id CommandID) Event {
		return AddFigures{ID: id, VM: vm1, Epoch: 2, Figures: EndpointFigures{Sent: 10, Received: 10, CountedBy: "lab"}}
	}); d.Err != nil {
		t.Fatal(d.Err)
	}
	r := *w.core.Move(vm1, 2).Receipt
	if err := r.Verify(); err != nil || !bytes.Contains(r.Signed, []byte(`"lost":0`)) {
		t.Errorf("with figures: %v, %s", err, r.Signed)
	}
	r.Signed = bytes.Replace(r.Signed, []byte(`"lost":0`), []byte(`"lost":1`), 1)
	if r.Verify() == nil {
		t.Error("a changed receipt verifies")
	}
}

func TestReportsAboutNothingAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testInventory)
	w.wait(2 * time.Second)
	w.exec(strings.Fields("register vm1 a 2001:db8:a:1::1"))
	w.exec(strings.Fields("prepare vm1 b"))
	for name, e := range map[string]func(CommandID) Event{
		"no such move": func(id CommandID) Event {
			return Report{ID: id, VM: vm1, Epoch: 9, Holder: HolderReport{Hypervisor: "a"}}
		},
		"no such hypervisor": func(id CommandID) Event {
			return Report{ID: id, VM: vm1, Epoch: 2, Holder: HolderReport{Hypervisor: "z"}}
		},
		"figures of no move": func(id CommandID) Event { return AddFigures{ID: id, VM: vm1, Epoch: 9} },
		"evacuate no host":   func(id CommandID) Event { return Evacuate{ID: id, Hypervisor: "z"} },
		"retire no host":     func(id CommandID) Event { return Retire{ID: id, Hypervisor: "z"} },
		"abort of no VM":     func(id CommandID) Event { return Abort{ID: id, VM: mobility.NAI("vm9")} },
		"source of no VM":    func(id CommandID) Event { return SourceLost{ID: id, VM: mobility.NAI("vm9"), To: "b", FencedBy: "x"} },
		"abort, other epoch": func(id CommandID) Event { return Abort{ID: id, VM: vm1, Epoch: 7} },
	} {
		if d := w.command(e); !errors.Is(d.Err, ErrUnknown) {
			t.Errorf("%s: err = %v, want ErrUnknown", name, d.Err)
		}
	}
	if d := w.command(func(id CommandID) Event { return AddFigures{ID: id, VM: vm1, Epoch: 2} }); d.Err == nil || errors.Is(d.Err, ErrUnknown) {
		t.Errorf("figures before the COMMIT: err = %v", d.Err)
	}
}

// A restarted management node never uses a timestamp twice, even if its clock
// was set back meanwhile.
func TestTimestampsNeverGoBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testInventory)
	w.wait(5 * time.Second)
	last, restart := w.core.node.LastTimestamp(), w.core.Restart()
	w.crash()
	w.now = w.now.Add(-time.Second)
	w.boot()
	w.exec(strings.Fields("register vm1 a 2001:db8:a:1::1"))
	w.exec(strings.Fields("prepare vm1 b"))
	if now := w.core.node.LastTimestamp(); !now.After(last) {
		t.Errorf("timestamp %v after a restart, %v before it", now, last)
	}
	if w.core.Restart() <= restart {
		t.Errorf("restart counter %d after a restart, %d before it", w.core.Restart(), restart)
	}
}

// Every peer notices that the management node has restarted from a backup,
// even if the store in it has seen fewer starts than the peer.
func TestRestoreIsNoticed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testInventory)
	w.wait(2 * time.Second)
	w.exec([]string{"backup"})
	w.exec([]string{"crash"})
	w.wait(3 * time.Second)
	for _, name := range sortedKeys(w.hosts) {
		if n := w.hosts[name].restarts; n != 1 {
			t.Fatalf("%s noticed %d restarts of one", name, n)
		}
	}
	w.exec([]string{"restore"})
	w.wait(3 * time.Second)
	for _, name := range sortedKeys(w.hosts) {
		if n := w.hosts[name].restarts; n != 2 {
			t.Errorf("%s noticed %d restarts, want that of the restored one too", name, n)
		}
	}
	restored := w.core.Restart()
	w.exec([]string{"crash"})
	if now := w.core.Restart(); now <= restored {
		t.Errorf("restart counter %d, then %d: it was not kept", restored, now)
	}
}

// Two runs of one schedule are the same, to the byte: a simulator's failing
// seed can be replayed.
func TestDeterminism(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("testdata", "routed_keep_home.txt"))
	if err != nil {
		t.Fatal(err)
	}
	run := func() string {
		var trace strings.Builder
		w := newWorld(t, testInventory)
		w.trace = func(e Effect) { fmt.Fprintf(&trace, "%T %+v\n", e, e) }
		for _, line := range parseScript(string(text)).lines {
			if cmd, ok := strings.CutPrefix(line, "> "); ok && !strings.HasPrefix(cmd, "move") && !strings.HasPrefix(cmd, "binding") {
				w.exec(strings.Fields(cmd))
			}
		}
		return trace.String()
	}
	one, two := strings.Split(run(), "\n"), strings.Split(run(), "\n")
	for i := range one {
		if i >= len(two) || redact(one[i]) != redact(two[i]) {
			t.Fatalf("effect %d differs:\n%s\n%s", i, one[i], two[min(i, len(two)-1)])
		}
	}
}

var pointer = regexp.MustCompile("0x[0-9a-f]+")

// redact takes out addresses of memory.
func redact(s string) string { return pointer.ReplaceAllString(s, "") }

func TestHistoryIsPruned(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testInventory+"[lifetimes]\nhistory = \"10m\"\n")
	w.wait(2 * time.Second)
	for _, cmd := range []string{"register vm1 a 2001:db8:a:1::1", "prepare vm1 b", "abort vm1", "deregister vm1 a", "wait 11s"} {
		w.exec(strings.Fields(cmd))
	}
	if b, m := w.core.Size(); b != 1 || m != 1 {
		t.Fatalf("%d bindings, %d moves, want the memory of one", b, m)
	}
	w.wait(15 * time.Minute)
	if b, m := w.core.Size(); b != 0 || m != 0 {
		t.Errorf("%d bindings, %d moves after their time", b, m)
	}
	w.crash()
	w.boot()
	if b, m := w.core.Size(); b != 0 || m != 0 {
		t.Errorf("%d bindings, %d moves came back", b, m)
	}
}

// That a redirect may not end yet is an ordinary answer, no warning; other
// refusals are.
func TestNotYetIsNoWarning(t *testing.T) {
	t.Parallel()
	w := moved(t)
	drain := registration.Request{VM: vm1, Handoff: mobility.HandoffUnknown, Epoch: 2, Slots: []addr{mustAddr("2001:db8:a:1::1")}}
	early := drain
	early.Epoch = 9
	for name, tc := range map[string]struct {
		host string
		r    registration.Request
		want Note
	}{
		"a kept address at its home": {"a", drain, Note{Debug: true, Text: "refused: prohibited (129): 2001:db8:a:1::1 is kept and at home here", VM: vm1, Peer: "a", Epoch: 2}},
		"an epoch nobody gave out":   {"a", early, Note{Warning: true, Text: "refused: prohibited (129): epoch 9 is not the binding's 2", VM: vm1, Peer: "a", Epoch: 9}},
	} {
		var notes []Note
		for _, e := range w.ask(tc.host, tc.r) {
			if n, ok := e.(Note); ok {
				notes = append(notes, n)
			}
		}
		if d := cmp.Diff([]Note{tc.want}, notes); d != "" {
			t.Errorf("%s: notes (-want +got):\n%s", name, d)
		}
	}
}

func TestNewRefusesDamagedRecords(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testInventory)
	for _, r := range []Record{{Kind: "bindings", Key: []byte("x"), Value: []byte("{")}, {Kind: "moves", Key: []byte("x"), Value: []byte(`{"epoch":-1}`)}} {
		_, _, err := New(w.now, Config{Inventory: w.inv, Self: self, Key: testKey}, []Record{r})
		if err == nil || !strings.Contains(err.Error(), string(r.Kind)) {
			t.Errorf("%s: err = %v", r.Kind, err)
		}
	}
}

func mustAddr(s string) addr { return netip.MustParseAddr(s) }
