package mgmt

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
)

// heard counts the alarms among effects, and gives the last warning.
func heard(effects []Effect) (alarms map[string]int, noted string) {
	alarms = map[string]int{}
	for _, e := range effects {
		switch e := e.(type) {
		case Count:
			if e.Name == "claims" {
				alarms[e.Label]++
			}
		case Note:
			if e.Warning {
				noted = e.Text
			}
		}
	}
	return alarms, noted
}

func slots(texts ...string) (list []netip.Addr) {
	for _, s := range texts {
		list = append(list, netip.MustParseAddr(s))
	}
	return list
}

// TestClaim: a hypervisor that claims the address of a VM elsewhere raises an
// alarm that names both; the first owner keeps it.
func TestClaim(t *testing.T) {
	t.Parallel()
	w := moved(t)
	const address = "2001:db8:a:1::1"
	alarms, noted := heard(w.ask("c", registration.Request{VM: mobility.NAI("vm9"), Handoff: mobility.HandoffNew, Lifetime: 15, Slots: slots(address)}))
	if want := address + " belongs to vm vm1 at b, which keeps it; c claims it for another VM"; alarms["c/address"] != 1 || !strings.Contains(noted, want) {
		t.Errorf("counted %v and noted %q, want %q", alarms, noted, want)
	}
	if b := w.core.Binding(vm1); b.Hypervisor != "b" || len(b.Slots) != 1 || b.Slots[0].String() != address {
		t.Errorf("after the claim the binding is %+v", b)
	}
	if got := w.core.Claims(w.now); len(got) != 1 || got[0].String() != "c claims "+address+" for vm vm9, which belongs to vm vm1 at b" {
		t.Errorf("claims: %v", got)
	}
}

// TestClaimOfAVM: nobody takes a VM that another serves without a ticket, and
// the operator hears of who tries. What is late only is no alarm.
func TestClaimOfAVM(t *testing.T) {
	t.Parallel()
	const address = "2001:db8:a:1::1"
	own := slots(address)
	for name, tc := range map[string]struct {
		from   string
		ask    registration.Request
		alarms map[string]int
	}{
		"without a ticket":                              {"c", registration.Request{Handoff: mobility.HandoffMove, Slots: own}, map[string]int{"c/vm": 1}},
		"as if it were new":                             {"c", registration.Request{Handoff: mobility.HandoffNew, Slots: own}, map[string]int{"c/vm": 1}},
		"with a forged ticket":                          {"c", registration.Request{Handoff: mobility.HandoffMove, Epoch: 2, Ticket: mobility.Ticket{1, 2, 3}, Slots: own}, map[string]int{"c/vm": 1}},
		"as if it served it":                            {"c", registration.Request{Handoff: mobility.HandoffUnchanged, Epoch: 2, Slots: own}, map[string]int{"c/vm": 1}},
		"by the source, that has not heard of the move": {"a", registration.Request{Handoff: mobility.HandoffUnchanged, Epoch: 1, Slots: own}, map[string]int{}},
		"by the source, as if it were new":              {"a", registration.Request{Handoff: mobility.HandoffNew, Slots: own}, map[string]int{"a/vm": 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := moved(t)
			tc.ask.VM, tc.ask.Lifetime = vm1, 15
			alarms, noted := heard(w.ask(tc.from, tc.ask))
			if d := cmp.Diff(tc.alarms, alarms); d != "" {
				t.Errorf("alarms (-want +got):\n%s\nnoted: %s", d, noted)
			}
			if b := w.core.Binding(vm1); b.Hypervisor != "b" || b.Epoch != 2 {
				t.Errorf("after the claim the binding is %+v", b)
			}
			if got := w.core.Claims(w.now); len(got) != len(tc.alarms) {
				t.Errorf("claims: %v", got)
			}
		})
	}
}

// TestLateCommitIsNoClaim: a COMMIT whose move was aborted has its own ticket.
func TestLateCommitIsNoClaim(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testInventory)
	w.wait(2 * time.Second)
	for _, line := range []string{"register vm1 a 2001:db8:a:1::1", "prepare vm1 b"} {
		w.exec(strings.Fields(line))
	}
	ticket := w.core.Move(vm1, 0).Ticket
	w.exec(strings.Fields("abort vm1"))
	alarms, noted := heard(w.ask("b", registration.Request{VM: vm1, Handoff: mobility.HandoffMove, Lifetime: 15, Epoch: 2, Ticket: ticket, Slots: slots("2001:db8:a:1::1")}))
	if len(alarms) > 0 || !strings.Contains(noted, "the ticket is not valid") {
		t.Errorf("alarms %v, noted %q", alarms, noted)
	}
}

// TestClaimsAreForgotten: an hour after the last one, and they are bounded.
func TestClaimsAreForgotten(t *testing.T) {
	t.Parallel()
	w := moved(t)
	claim := func(vm mobility.VMID) {
		w.ask("c", registration.Request{VM: vm, Handoff: mobility.HandoffNew, Lifetime: 15, Slots: slots("2001:db8:a:1::1")})
	}
	for range 3 {
		claim(mobility.NAI("vm9"))
	}
	if got := w.core.Claims(w.now); len(got) != 1 || got[0].Count != 3 {
		t.Errorf("claims: %+v", got)
	}
	for i := range maxClaims + 9 {
		claim(mobility.NAI("x" + strings.Repeat("y", i%60) + string(rune('a'+i/60))))
	}
	if got := len(w.core.Claims(w.now)); got != maxClaims {
		t.Errorf("%d claims are remembered, want %d", got, maxClaims)
	}
	if got := len(w.core.Claims(w.now.Add(claimMemory))); got != 0 {
		t.Errorf("after an hour %d claims are told", got)
	}
}

// TestClaimBetweenSites: the alarm names the data centres.
func TestClaimBetweenSites(t *testing.T) {
	t.Parallel()
	text := strings.NewReplacer("name = \"a\"\n", "name = \"a\"\nsite = \"dc1\"\n", "name = \"c\"\n", "name = \"c\"\nsite = \"dc2\"\n").Replace(testInventory)
	w := newWorld(t, "[[site]]\nname = \"dc1\"\n[[site]]\nname = \"dc2\"\n"+text)
	w.wait(2 * time.Second)
	w.exec(strings.Fields("register vm1 a 2001:db8:a:1::1"))
	_, noted := heard(w.ask("c", registration.Request{VM: mobility.NAI("vm9"), Handoff: mobility.HandoffNew, Lifetime: 15, Slots: slots("2001:db8:a:1::1")}))
	if want := "belongs to vm vm1 at a (site dc1), which keeps it; c (site dc2) claims it for another VM"; !strings.Contains(noted, want) {
		t.Errorf("noted %q, want %q", noted, want)
	}
}
