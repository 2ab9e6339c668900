package haltest

import (
	"github.com/dpmip/dpmip/hwabstraction"
)

// addresses is how many a VM has at most: what one switch must cover.
const addresses = 16

var redirects = []hwabstraction.Feature{hwabstraction.FeatureRedirect}

var groupChecks = []check{
	{name: "a redirect acts only while armed", needs: redirects, run: checkArmed},
	{name: "an unmodified redirect goes towards the locator", needs: redirects, run: checkUnmodified},
	{name: "arming is one step for 16 addresses", needs: redirects, run: checkArmAtomic},
	{name: "activating is one step for 16 addresses", needs: redirects, run: checkActivateAtomic},
	{name: "the higher epoch wins", needs: redirects, run: checkHigherEpoch},
	{name: "at an equal epoch deliver wins", needs: redirects, run: checkEqualEpoch},
	{name: "a delivery address is restored, then redirected", needs: redirects, run: checkRestoreRedirect},
	{name: "a delivery address is restored", run: checkRestore},
	{name: "an inactive deliver leaves packets alone", run: checkNotActive},
	{name: "groups are switched apart", needs: redirects, run: checkApart},
	{name: "rules act without the process", needs: redirects, run: checkWithoutProcess},
	{name: "a rule put again keeps its group on", needs: redirects, run: checkChangedInPlace},
}

// redirectAll is a redirect for each of the VM's addresses.
func (s *stand) redirectAll(st hwabstraction.Stamp) []hwabstraction.Rule {
	var rules []hwabstraction.Rule
	for i := range addresses {
		rules = append(rules, s.redirect(i, st))
	}
	return rules
}

func (s *stand) deliverAll(st hwabstraction.Stamp) []hwabstraction.Rule {
	var rules []hwabstraction.Rule
	for i := range addresses {
		rules = append(rules, s.deliverOld(i, st))
	}
	return rules
}

func checkArmed(s *stand) {
	st := owner(1, 1)
	s.put(s.redirectAll(st)...)
	old, there := to(s.old, addresses), to(s.there, addresses)
	s.toward(old, 0, addresses)
	s.expect(s.fabric, old, 0, addresses)
	s.arm(st)
	s.toward(old, 0, addresses)
	s.expect(s.fabric, there, 0, addresses)
	s.disarm(st)
	s.toward(old, 0, addresses)
	s.expect(s.fabric, old, 0, addresses)
	s.silence(s.vm...)
}

func checkUnmodified(s *stand) {
	st := owner(1, 1)
	s.put(hwabstraction.Unreachable{Stamp: st, Prefix: s.vmRange},
		hwabstraction.Redirect{Stamp: st, Address: s.old(1), To: s.old(1), Locator: s.locator})
	dst := func(int) spec { return spec{dst: s.old(1)} }
	s.toward(dst, 0, 1)
	s.silence(s.fabric)
	s.arm(st)
	s.toward(dst, 0, 3)
	s.expect(s.fabric, dst, 0, 3)
}

// flood sends numbered packets over all addresses, in rounds, while change is
// made by another goroutine, and one more round when it is done.
func (s *stand) flood(change func() error) (sent int) {
	s.Helper()
	done := make(chan error, 1)
	round := func() {
		s.toward(to(s.old, addresses), sent, sent+addresses)
		sent += addresses
	}
	round()
	go func() { done <- change() }()
	for {
		select {
		case err := <-done:
			s.do("switching", err)
			round()
			return sent
		default:
			if sent < 4096 {
				round()
			}
		}
	}
}

func checkArmAtomic(s *stand) {
	st := owner(1, 1)
	s.put(s.redirectAll(st)...)
	sent := s.flood(func() error { return s.dev.Arm(st) })
	got := s.leaves(s.fabric, sent)
	switched := false
	for i, h := range got {
		redirected := h.dst == s.there(i%addresses)
		if switched && !redirected {
			s.Fatalf("packet %d to %s came after the first redirected one and was not redirected", i, h.dst)
		}
		switched = redirected
	}
	if len(got) != sent || !switched {
		s.Errorf("%d packets of %d left, armed in the end: %v", len(got), sent, switched)
	}
}

func checkActivateAtomic(s *stand) {
	low, high := owner(1, 1), owner(1, 2)
	s.put(append(s.redirectAll(low), s.deliverAll(high)...)...)
	s.arm(low)
	sent := s.flood(func() error { return s.dev.Activate(high) })
	away := s.leaves(s.fabric, 0)
	here := s.leaves(s.vm[0], sent-len(away))
	if len(away)+len(here) != sent {
		s.Errorf("%d packets redirected and %d delivered of %d", len(away), len(here), sent)
	}
	if first, last := number(here[0].b), number(away[len(away)-1].b); first < last {
		s.Errorf("packet %d was delivered, %d after it still redirected", first, last)
	}
}

func checkHigherEpoch(s *stand) {
	dst := func(int) spec { return spec{dst: s.old(1)} }
	s.put(s.deliverOld(1, owner(1, 1)), s.redirect(1, owner(1, 2)))
	s.activate(owner(1, 1))
	s.toward(dst, 0, 2)
	s.expect(s.vm[0], dst, 0, 2)
	s.arm(owner(1, 2))
	s.toward(dst, 2, 4)
	s.expect(s.fabric, func(int) spec { return spec{dst: s.there(1)} }, 2, 4)
	s.put(s.deliverOld(1, owner(1, 3)))
	s.toward(dst, 4, 6)
	s.expect(s.fabric, func(int) spec { return spec{dst: s.there(1)} }, 4, 6)
	s.activate(owner(1, 3))
	s.toward(dst, 6, 8)
	s.expect(s.vm[0], dst, 6, 8)
	s.silence(s.fabric)
}

func checkEqualEpoch(s *stand) {
	st := owner(1, 2)
	dst := func(int) spec { return spec{dst: s.old(1)} }
	s.put(s.redirect(1, st), s.deliverOld(1, st))
	s.arm(st)
	s.toward(dst, 0, 2)
	s.expect(s.fabric, func(int) spec { return spec{dst: s.there(1)} }, 0, 2)
	s.activate(st)
	s.toward(dst, 2, 4)
	s.expect(s.vm[0], dst, 2, 4)
	s.silence(s.fabric)
}

func checkRestoreRedirect(s *stand) {
	here, away := owner(1, 2), owner(1, 3)
	dst := func(int) spec { return spec{dst: s.here(1)} }
	s.put(s.deliverHere(1, here), s.deliverOld(1, here), s.redirect(1, away))
	s.activate(here)
	s.toward(dst, 0, 2)
	s.expect(s.vm[0], func(int) spec { return spec{dst: s.old(1)} }, 0, 2)
	s.arm(away)
	s.toward(dst, 2, 4)
	s.expect(s.fabric, func(int) spec { return spec{dst: s.there(1)} }, 2, 4)
	s.silence(s.vm...)
	if c := s.counter(hwabstraction.DeliverID(s.here(1))); c.Packets != 4 {
		s.Errorf("4 packets came to the delivery address, its rule counts %d", c.Packets)
	}
}

func checkRestore(s *stand) {
	st := owner(1, 1)
	s.put(s.deliverHere(1, st))
	s.activate(st)
	s.toward(func(int) spec { return spec{dst: s.here(1)} }, 0, 4)
	frames := s.world.Seen(s, s.vm[0].Name, 4, isTest)
	if len(frames) != 4 {
		s.Fatalf("%d packets delivered, want 4", len(frames))
	}
	for i, f := range frames {
		h, _ := ip(f)
		if h.dst != s.old(1) || h.src != s.peer || number(f) != i || MAC(f[:6]) != s.vm[0].Far {
			s.Errorf("packet %d came as %d from %s to %s, for %x", i, number(f), h.src, h.dst, f[:6])
		}
		if err := verify(h); err != nil {
			s.Error(err)
		}
	}
	s.silence(s.fabric, s.vm[1])
}

func checkNotActive(s *stand) {
	st := owner(1, 1)
	dst := func(int) spec { return spec{dst: s.old(1)} }
	s.put(s.deliverOld(1, st), s.deliverHere(2, st))
	s.toward(dst, 0, 3)
	s.expect(s.fabric, dst, 0, 3)
	s.silence(s.vm...)
}

func checkApart(s *stand) {
	first, second := owner(1, 1), owner(2, 1)
	s.put(s.redirect(1, first), s.redirect(2, second))
	s.arm(first)
	s.toward(func(i int) spec { return spec{dst: s.old(1 + i)} }, 0, 2)
	got := s.leaves(s.fabric, 2)
	if got[0].dst != s.there(1) || got[1].dst != s.old(2) {
		s.Errorf("one group armed of two: packets went to %s and %s", got[0].dst, got[1].dst)
	}
}

func checkWithoutProcess(s *stand) {
	st := owner(1, 1)
	s.put(s.redirect(1, st))
	s.arm(st)
	s.do("Close", s.dev.Close())
	dst, there := func(int) spec { return spec{dst: s.old(1)} }, func(int) spec { return spec{dst: s.there(1)} }
	s.toward(dst, 0, 3)
	s.expect(s.fabric, there, 0, 3)
	s.dev = s.reopen(s)
	s.toward(dst, 3, 6)
	s.expect(s.fabric, there, 3, 6)
	s.disarm(st)
	s.toward(dst, 6, 8)
	s.expect(s.fabric, dst, 6, 8)
}

func checkChangedInPlace(s *stand) {
	st := owner(1, 1)
	s.put(s.redirect(1, st))
	s.arm(st)
	changed := s.redirect(1, st)
	changed.To = s.there(2)
	s.put(changed)
	s.toward(func(int) spec { return spec{dst: s.old(1)} }, 0, 2)
	s.expect(s.fabric, func(int) spec { return spec{dst: s.there(2)} }, 0, 2)
	s.expectRules(status(changed, true))
}
