package agent

import (
	"net/netip"
	"testing"
	"time"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/haltest"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
)

func TestRefusalsAtTheSource(t *testing.T) {
	t.Parallel()
	with := func(r registration.Request, change func(*registration.Request)) registration.Request {
		change(&r)
		return r
	}
	other := mobility.NAI("other@lab")
	for name, tc := range map[string]struct {
		request registration.Request
		want    mobility.Status
	}{
		"prepare, not here":       {with(prepareSource(2, hotKeep, pair6), func(r *registration.Request) { r.VM = other }), mobility.StatusNotVMForThisNode},
		"redirect, not here":      {with(redirectTo(2, locB, hotKeep, pair6), func(r *registration.Request) { r.VM = other }), mobility.StatusNotVMForThisNode},
		"prepare, foreign pair":   {prepareSource(2, hotKeep, mobility.Pair{Old: away6, New: d6}), mobility.StatusPairMismatch},
		"prepare, a pair more":    {prepareSource(2, hotKeep, pair6, mobility.Pair{Old: away6, New: d6}), mobility.StatusPairMismatch},
		"redirect, foreign pair":  {redirectTo(2, locB, hotKeep, mobility.Pair{Old: away6, New: d6}), mobility.StatusPairMismatch},
		"pair twice":              {prepareSource(2, hotKeep, pair6, pair6), mobility.StatusPairMismatch},
		"redirect, no pair":       {redirectTo(2, locB, hotKeep), mobility.StatusMissingAddress},
		"own locator":             {with(prepareSource(2, hotKeep, pair6), func(r *registration.Request) { r.CareOf = locA }), mobility.StatusNotAuthorisedNode},
		"no locator":              {with(redirectTo(2, locB, hotKeep, pair6), func(r *registration.Request) { r.CareOf = netip.Addr{} }), mobility.StatusNotAuthorisedNode},
		"prepare, current epoch":  {prepareSource(1, hotKeep, pair6), mobility.StatusProhibited},
		"redirect, current epoch": {redirectTo(1, locB, hotKeep, pair6), mobility.StatusProhibited},
		"destination of itself":   {prepareDestination(2, hotKeep, old6), mobility.StatusProhibited},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			w.attached(old6)
			before := w.rules()
			w.refused(name, tc.want, tc.request)
			w.holds(before...)
			w.goes(old6, haltest.ActDeliver, old6)
			w.accepted("a good one afterwards", prepareSource(7, hotKeep, pair6))
		})
	}
}

func TestRefusalsAtTheDestination(t *testing.T) {
	t.Parallel()
	many := func(n int) (out []netip.Addr) {
		for i := range n {
			out = append(out, netip.AddrFrom16([16]byte{0x20, 1, 14: 9, 15: byte(i)}))
		}
		return out
	}
	noPort := prepareDestination(2, hotKeep, away6)
	noPort.VM = mobility.VMID{Subtype: mobility.IDDUID, Bytes: "\x00\x01"}
	wrongCount := prepareDestination(2, hotKeep, away6)
	wrongCount.Current = &mobility.SlotCount{V6: 2}
	for name, tc := range map[string]struct {
		request registration.Request
		change  func(*Config, *haltest.Plan)
		want    mobility.Status
	}{
		"no address":     {prepareDestination(2, hotKeep), nil, mobility.StatusMissingAddress},
		"too many":       {prepareDestination(2, hotKeep, many(17)...), nil, mobility.StatusResources},
		"too many slots": {prepareDestination(2, hotKeep, many(9)...), nil, mobility.StatusPairMismatch},
		"wrong count":    {wrongCount, nil, mobility.StatusPairMismatch},
		"no epoch":       {prepareDestination(0, hotKeep, away6), nil, mobility.StatusProhibited},
		"no port":        {noPort, nil, mobility.StatusForwardingFailed},
		"no IPv4 pool":   {prepareDestination(2, hotKeep, addr("10.9.9.9")), func(c *Config, _ *haltest.Plan) { c.Pools = c.Pools[:1] }, mobility.StatusNoIPv4},
		"no IPv6 pool":   {prepareDestination(2, hotKeep, away6), func(c *Config, _ *haltest.Plan) { c.Pools = c.Pools[1:] }, mobility.StatusResources},
		"no VM range":    {prepareDestination(2, renumber(mobility.PolicyDrop), away6), func(c *Config, _ *haltest.Plan) { c.Ranges = nil }, mobility.StatusResources},
		"no hold":        {prepareDestination(2, hotKeep, away6), func(_ *Config, p *haltest.Plan) { p.Missing = []hwabstraction.Feature{hwabstraction.FeatureHold} }, mobility.StatusForwardingFailed},
		"table full":     {prepareDestination(2, hotKeep, away6), func(_ *Config, p *haltest.Plan) { p.MaxRules = 5 }, mobility.StatusResources},
		"device failure": {prepareDestination(2, hotKeep, away6), func(_ *Config, p *haltest.Plan) { p.Faults = fault(hwabstraction.ErrPortGone) }, mobility.StatusForwardingFailed},
		"from this one":  {func() registration.Request { r := prepareDestination(2, hotKeep, away6); r.CareOf = locA; return r }(), nil, mobility.StatusNotAuthorisedNode},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tc.change)
			w.refused(name, tc.want, tc.request)
			w.dev.Calm()
			w.pass(time.Minute)
			w.holds()
			if len(w.kept) != 0 || len(w.core.addrs.taken) != 0 || len(w.core.vms) != 0 {
				t.Errorf("left: records %v, addresses %v", w.kept, w.core.addrs.taken)
			}
		})
	}
}

// fault makes every Egress fail.
func fault(err error) []haltest.Fault {
	return []haltest.Fault{{Kind: hwabstraction.KindEgress, Err: err}}
}

func TestFullRegionIs130(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.attached(old6)
	w.full = true
	w.refused("prepare at the source", mobility.StatusResources, prepareSource(2, hotKeep, pair6))
	r := prepareDestination(2, hotKeep, away6)
	r.VM = mobility.NAI("vm2@lab")
	w.refused("prepare at the destination", mobility.StatusResources, r)
	a := w.command(func(id CommandID) Event {
		return Attach{ID: id, VM: mobility.NAI("vm3@lab"), MAC: mac1, Addresses: []netip.Addr{addr("2001:db8:a::3")}, Wait: time.Second}
	})
	if a == nil || commandCode(a.Err) != CommandFull {
		t.Errorf("attach: %+v", a)
	}
	w.goes(old6, haltest.ActDeliver, old6)
	w.full = false
	w.accepted("when there is room", prepareSource(3, hotKeep, pair6))
	w.accepted("when there is room", r)
}

func TestExhaustedPoolIs130(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil) // 14 addresses in its IPv4 pool
	for i := range 15 {
		r := prepareDestination(2, hotKeep, netip.AddrFrom4([4]byte{10, 9, 0, byte(i + 1)}))
		r.VM = mobility.NAI(string(rune('a'+i)) + "@lab")
		if i < 14 {
			w.accepted("prepare", r)
			continue
		}
		w.refused("the one too many", mobility.StatusResources, r)
		gone := ending(2, mobility.PhaseAbort)
		gone.VM = mobility.NAI("a@lab")
		w.accepted("abort", gone)
		w.refused("in the quarantine", mobility.StatusResources, r)
		w.pass(2 * time.Minute)
		w.accepted("after the quarantine", r)
	}
}

func TestFailedRedirectIsUndone(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		err  error
		want mobility.Status
	}{"full": {hwabstraction.ErrTableFull, mobility.StatusResources}, "broken": {hwabstraction.ErrPortGone, mobility.StatusForwardingFailed}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			w.attached(old6)
			w.dev.Inject(haltest.Fault{Kind: hwabstraction.KindRedirect, Err: tc.err})
			w.refused("prepare", tc.want, prepareSource(2, hotKeep, pair6))
			if a := w.command(release); commandCode(a.Err) != CommandNotReady {
				t.Errorf("release: %+v", a)
			}
			w.goes(old6, haltest.ActDeliver, old6)
			w.refused("redirect", tc.want, redirectTo(2, locB, hotKeep, pair6))
			w.goes(old6, haltest.ActDeliver, old6)
			w.dev.Calm()
			w.pass(time.Second)
			w.accepted("redirect, repeated", redirectTo(2, locB, hotKeep, pair6))
			w.goes(old6, haltest.ActRedirect, d6)
		})
	}
}

func TestPlainListOfTheDraft(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.attached(old6)
	list := func(addrs ...netip.Addr) registration.Request {
		return registration.Request{VM: vm1, MAC: mac1, Handoff: mobility.HandoffMove, Lifetime: 900, Slots: addrs, CareOf: locB}
	}
	w.refused("too long", mobility.StatusPairMismatch, list(d6, away6, d4as6))
	w.accepted("as long as the entry", list(d6))
	w.goes(old6, haltest.ActRedirect, d6)
}

func TestAttachRefusedByTheManagementNode(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.command(func(id CommandID) Event {
		return Attach{ID: id, VM: vm1, MAC: mac1, Addresses: []netip.Addr{old6}, Wait: time.Second}
	})
	w.reply(w.next("register"), registration.Reply{Status: mobility.StatusAddress6})
	a := w.answers[w.id]
	if a.Err == nil || statusOf(a.Err, 0) != mobility.StatusAddress6 {
		t.Errorf("attach: %+v", a)
	}
	w.holds()
	if len(w.kept) != 0 {
		t.Errorf("kept: %v", w.kept)
	}
}

func TestAttachChecks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.attached(old6)
	good := Attach{VM: mobility.NAI("vm2@lab"), MAC: mac1, Addresses: []netip.Addr{addr("2001:db8:a::2")}}
	for name, change := range map[string]func(*Attach){
		"no address":       func(a *Attach) { a.Addresses = nil },
		"no MAC":           func(a *Attach) { a.MAC = mobility.MAC{} },
		"taken":            func(a *Attach) { a.Addresses = []netip.Addr{old6} },
		"twice":            func(a *Attach) { a.Addresses = append(a.Addresses, a.Addresses[0]) },
		"delivery pool":    func(a *Attach) { a.Addresses = []netip.Addr{addr("2001:db8:a:d::5")} },
		"link-local":       func(a *Attach) { a.Addresses = []netip.Addr{addr("fe80::1")} },
		"no identifier":    func(a *Attach) { a.VM = mobility.VMID{} },
		"other addresses":  func(a *Attach) { a.VM = vm1 },
		"port name absurd": func(a *Attach) { a.VM = mobility.NAI("a-name-that-is-much-too-long@lab") },
	} {
		a := good
		a.Addresses = append([]netip.Addr(nil), good.Addresses...)
		change(&a)
		got := w.command(func(id CommandID) Event { a.ID = id; return a })
		if got == nil || commandCode(got.Err) != CommandInvalid {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestCommandsForUnknownVMs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for name, e := range map[string]func(CommandID) Event{
		"activate": activateVM,
		"detach":   func(id CommandID) Event { return Detach{ID: id, VM: vm1} },
	} {
		if a := w.command(e); a == nil || commandCode(a.Err) != CommandNotFound {
			t.Errorf("%s: %+v", name, a)
		}
	}
	if a := w.command(release); a == nil || commandCode(a.Err) != CommandNotReady {
		t.Errorf("release: %+v", a)
	}
}
