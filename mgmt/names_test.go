package mgmt

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dpmip/dpmip/dnsupdate"
)

const namedInventory = testInventory + `
[[vm]]
id = "vm1"
services = { names = [{ name = "www.x.test" }], reverse = "www.x.test" }
`

// said are the orders since the last call: stage, version, addresses that are
// published / withdrawn / forgotten, TTL.
func (w *world) said() (list []string) {
	for _, o := range w.orders {
		s := o.Record.State
		list = append(list, fmt.Sprintf("%s %v [%s] [%s] [%s] %v", o.Record.Stage, s.Version, joinAddrs(s.Published), joinAddrs(s.Withdrawn), joinAddrs(s.Forgotten), s.TTL))
	}
	w.orders = nil
	return list
}

// prove ends every order that is out, as an updater would.
func (w *world) prove() {
	for _, o := range w.orders {
		w.step(NamesReported{By: "test", Job: jobOf(w.t, o.Record.State, dnsupdate.PhaseProved)})
	}
	w.settle()
}

func jobOf(t *testing.T, s dnsupdate.State, p dnsupdate.Phase) dnsupdate.Job {
	t.Helper()
	updates, err := dnsupdate.Plan(s, []string{"test.", "ip6.arpa."})
	if err != nil {
		t.Fatal(err)
	}
	j := dnsupdate.NewJob(updates, time.Time{})
	for i := range j.Zones {
		j.Zones[i].Phase = p
	}
	return j
}

func TestNamesFollowTheBinding(t *testing.T) {
	t.Parallel()
	const a, b = "2001:db8:a:1::1", "2001:db8:b:1::7"
	w := newWorld(t, namedInventory)
	w.wait(2 * time.Second)
	for _, step := range []struct {
		do   string
		want []string
	}{
		{"register vm1 a " + a, []string{"publish 1.1 [" + a + "] [] [] 0s"}},
		{"refresh vm1 a", nil},
		{"prepare vm1 b addresses=renumber", []string{"lower_ttl 1.2 [" + a + "] [] [] 5s"}},
		{"abort vm1", []string{"restore_ttl 1.3 [" + a + "] [] [] 0s"}},
		{"prepare vm1 b addresses=renumber", []string{"lower_ttl 1.4 [" + a + "] [] [] 5s"}},
		{"activate vm1 b " + b, []string{"publish 3.1 [" + b + "] [" + a + "] [] 5s"}},
		{"drain vm1 a " + a, nil},
		{"drain vm1 b " + a, []string{"restore_ttl 3.2 [" + b + "] [" + a + "] [] 0s"}},
		{"wait 70s", []string{"forget 3.3 [" + b + "] [] [" + a + "] 0s"}},
		{"prepare vm1 c", nil}, // kept addresses: nothing that the DNS must hear of
		{"activate vm1 c", nil},
		{"deregister vm1 c", nil},
		{"wait 15s", []string{"withdraw 5.1 [] [" + b + "] [] 0s"}},
	} {
		w.exec(strings.Fields(step.do))
		w.prove()
		if d := cmp.Diff(step.want, w.said()); d != "" {
			t.Fatalf("%s (-want +got):\n%s", step.do, d)
		}
	}
}

// TestNamesSurviveACrash: an order that has not ended is given out again.
func TestNamesSurviveACrash(t *testing.T) {
	t.Parallel()
	w := newWorld(t, namedInventory)
	w.wait(2 * time.Second)
	w.exec(strings.Fields("register vm1 a 2001:db8:a:1::1"))
	want := w.said()
	for range 2 {
		w.exec([]string{"crash"})
		if d := cmp.Diff(want, w.said()); d != "" {
			t.Errorf("after a crash (-want +got):\n%s", d)
		}
	}
	w.exec([]string{"crash"})
	w.prove()
	w.said()
	w.exec([]string{"crash"})
	if got := w.said(); got != nil {
		t.Errorf("after it has ended: %v", got)
	}
}

// TestNamesOfAnotherList: what the inventory no longer has is taken out before
// anything else is said.
func TestNamesOfAnotherList(t *testing.T) {
	t.Parallel()
	w := newWorld(t, namedInventory)
	w.wait(2 * time.Second)
	w.exec(strings.Fields("register vm1 a 2001:db8:a:1::1"))
	w.prove()
	w.said()
	w.setInventory(strings.ReplaceAll(namedInventory, "www.x.test", "web.x.test"))
	w.step(InventoryChanged{w.inv})
	w.settle()
	retract := w.orders
	if d := cmp.Diff([]string{"retract 1.2 [] [2001:db8:a:1::1] [] 0s"}, w.said()); d != "" {
		t.Fatalf("(-want +got):\n%s", d)
	}
	if n := retract[0].Record.State.Services.Names[0].Name; n != "www.x.test" {
		t.Errorf("retracts %s", n)
	}
	w.orders = retract
	w.prove()
	w.orders = w.orders[1:]
	if d := cmp.Diff([]string{"publish 1.3 [2001:db8:a:1::1] [] [] 0s"}, w.said()); d != "" {
		t.Fatalf("(-want +got):\n%s", d)
	}
	w.setInventory(testInventory)
	w.step(InventoryChanged{w.inv})
	w.settle()
	if d := cmp.Diff([]string{"remove 1.4 [] [] [2001:db8:a:1::1] 0s"}, w.said()); d != "" {
		t.Fatalf("(-want +got):\n%s", d)
	}
}

// TestStandby: of two places the one that does not answer is taken out of the
// DNS; where neither does, both are in it.
func TestStandby(t *testing.T) {
	t.Parallel()
	const a, b = "2001:db8:a:1::1", "2001:db8:b:1::1"
	both := ""
	for _, vm := range []string{"vm1", "vm2"} {
		both += "[[vm]]\nid = \"" + vm + "\"\nstandby = true\nservices = { names = [{ name = \"all.x.test\", shared = true }] }\n"
	}
	w := newWorld(t, testInventory+both)
	w.wait(2 * time.Second)
	for _, step := range []struct {
		do   string
		want []string
	}{
		{"register vm1 a " + a, []string{"publish 1.1 [" + a + "] [] [] 0s"}},
		{"register vm2 b " + b, []string{"publish 1.1 [" + b + "] [] [] 0s"}},
		{"down a", nil},
		{"wait 5s", []string{"withdraw 1.2 [] [" + a + "] [] 0s"}},
		{"down b", nil},
		{"wait 5s", []string{"publish 1.3 [" + a + "] [] [] 0s"}}, // neither answers, and either may serve
		{"up a", nil},
		{"wait 5s", []string{"withdraw 1.2 [] [" + b + "] [] 0s"}},
		{"up b", nil},
		{"wait 5s", []string{"publish 1.3 [" + b + "] [] [] 0s"}},
	} {
		w.exec(strings.Fields(step.do))
		w.prove()
		if d := cmp.Diff(step.want, w.said()); d != "" {
			t.Fatalf("%s (-want +got):\n%s", step.do, d)
		}
	}
}

// TestNamesInTheReceipt: what became of an order stands in the move's receipt,
// and as a trouble until it is over.
func TestNamesInTheReceipt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, namedInventory)
	w.wait(2 * time.Second)
	for _, cmd := range []string{"register vm1 a 2001:db8:a:1::1", "prepare vm1 b addresses=renumber", "activate vm1 b 2001:db8:b:1::7"} {
		w.exec(strings.Fields(cmd))
	}
	s := w.orders[len(w.orders)-1].Record.State
	j := jobOf(t, s, dnsupdate.PhaseWaiting)
	j.Zones[0].Failure = &dnsupdate.Failure{Kind: dnsupdate.FailureRefused, Zone: "test.", Detail: "REFUSED"}
	w.step(NamesReported{By: "test", Job: j})
	w.settle()
	if got := w.core.NamesTrouble()[vm1]; !strings.Contains(got, "REFUSED") || w.core.NamesPending() != 1 {
		t.Errorf("trouble %q, %d pending", got, w.core.NamesPending())
	}
	w.step(NamesReported{By: "test", Job: jobOf(t, s, dnsupdate.PhaseProved)})
	w.settle()
	if got := w.core.NamesTrouble(); len(got) != 0 || w.core.NamesPending() != 0 {
		t.Errorf("trouble %q, %d pending", got, w.core.NamesPending())
	}
	m := w.core.Move(vm1, 0)
	if err := m.Receipt.Verify(); err != nil {
		t.Fatal(err)
	}
	for _, n := range m.Names {
		if n.Stage != NamesPublish || n.Epoch != m.Epoch || n.Outcome != "proved" || n.Failure != "" {
			t.Errorf("receipt: %+v", n)
		}
	}
	if len(m.Names) != 2 || !strings.Contains(string(m.Receipt.Signed), `"outcome":"proved"`) {
		t.Errorf("signed: %s", m.Receipt.Signed)
	}
}

// TestNamesTriedAgain: what could not be published is, after a reload.
func TestNamesTriedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, namedInventory)
	w.wait(2 * time.Second)
	w.exec(strings.Fields("register vm1 a 2001:db8:a:1::1"))
	want := w.said()
	w.step(NamesImpossible{VM: vm1, Version: w.core.Names(vm1).State.Version, Reason: "no zone"})
	w.settle()
	if got := w.core.NamesTrouble()[vm1]; got != "no zone" || w.core.NamesPending() != 0 || w.said() != nil {
		t.Errorf("trouble %q, %d pending", got, w.core.NamesPending())
	}
	w.step(InventoryChanged{w.inv})
	w.settle()
	w.prove()
	if d := cmp.Diff(want, w.said()); d != "" {
		t.Errorf("after a reload (-want +got):\n%s", d)
	}
	if got := w.core.NamesTrouble(); len(got) != 0 {
		t.Errorf("trouble %q", got)
	}
	w.step(InventoryChanged{w.inv})
	w.settle()
	if got := w.said(); got != nil {
		t.Errorf("without trouble: %v", got)
	}
}

// TestNamesWithAFailingStore: what was reported while the store failed is asked
// for again.
func TestNamesWithAFailingStore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, namedInventory)
	w.wait(2 * time.Second)
	w.exec(strings.Fields("register vm1 a 2001:db8:a:1::1"))
	want := w.said()
	s := w.core.Names(vm1).State
	w.store.FailWith(errors.New("disk full"))
	w.step(NamesReported{By: "test", Job: jobOf(t, s, dnsupdate.PhaseProved)})
	w.settle()
	w.store.FailWith(nil)
	if d := cmp.Diff(want, w.said()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	w.step(NamesReported{By: "test", Job: jobOf(t, s, dnsupdate.PhaseProved)})
	w.settle()
	if w.core.NamesPending() != 0 {
		t.Error("not settled")
	}
}
