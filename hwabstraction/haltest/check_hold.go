package haltest

import (
	"errors"

	"github.com/dpmip/dpmip/hwabstraction"
)

var holding = []hwabstraction.Feature{hwabstraction.FeatureHold}

var holdChecks = []check{
	{name: "a hold keeps packets and their order", needs: holding, run: checkHoldOrder},
	{name: "a hold is bounded by packets", needs: holding, run: checkHoldPackets},
	{name: "a hold is bounded by bytes", needs: holding, run: checkHoldBytes},
	{name: "a hold is bounded by time", needs: holding, run: checkHoldTime},
	{name: "a hold survives the process", needs: holding, run: checkHoldReopen},
	{name: "giving back restores into the fabric", needs: holding, run: checkGiveBack},
	{name: "what was given back is not activated", needs: holding, run: checkGivenBackStays},
	{name: "an active group has nothing to give back", needs: holding, run: checkNothingToGiveBack},
	{name: "a negative hold bound is refused", needs: holding, run: checkHoldNegative},
	{name: "holds are apart", needs: holding, run: checkHoldApart},
}

// heldHere is a hold of one delivery address and its old address.
func (s *stand) heldHere(i int, st hwabstraction.Stamp) []hwabstraction.Rule {
	return []hwabstraction.Rule{s.deliverHere(i, st), s.deliverOld(i, st)}
}

func checkHoldOrder(s *stand) {
	st := owner(1, 2)
	here := func(i int) spec { return spec{dst: s.here(1 + i%2)} }
	old := func(i int) spec { return spec{dst: s.old(1 + i%2)} }
	s.put(append(s.heldHere(1, st), s.heldHere(2, st)...)...)
	const n = 200
	s.toward(here, 0, n)
	s.silence(s.fabric, s.vm[0])
	if g := s.group(st); g.Held != n || g.HeldNow != n || g.HoldDrops != 0 {
		s.Errorf("%d packets sent, the group says %+v", n, g)
	}
	s.activate(st)
	s.toward(here, n, n+50)
	s.toward(old, n+50, n+60)
	s.expect(s.vm[0], old, 0, n+60)
	s.silence(s.fabric)
	if g := s.group(st); g.HeldNow != 0 || !g.Active {
		s.Errorf("after the release: %+v", g)
	}
}

func checkHoldPackets(s *stand) {
	st := owner(1, 1)
	s.do("SetHoldLimit", s.dev.SetHoldLimit(st, hwabstraction.HoldLimit{Packets: 8}))
	s.expectFirst(st, 8, 12)
}

func checkHoldTime(s *stand) {
	st := owner(1, 1)
	s.do("SetHoldLimit", s.dev.SetHoldLimit(st, hwabstraction.HoldLimit{Time: 1})) // over when the second packet comes
	s.expectFirst(st, 1, 4)
}

func checkHoldBytes(s *stand) {
	st := owner(1, 1)
	// A packet is 44 or 64 bytes, with its Ethernet header 14 more; the bound
	// may count either.
	s.do("SetHoldLimit", s.dev.SetHoldLimit(st, hwabstraction.HoldLimit{Bytes: 1200}))
	s.put(s.deliverHere(1, st))
	const n = 60
	s.toward(func(int) spec { return spec{dst: s.here(1)} }, 0, n)
	g := s.group(st)
	if g.HeldNow < 10 || g.HeldNow > 30 || g.HoldDrops != n-g.HeldNow {
		s.Errorf("of %d packets into 1200 bytes: %+v", n, g)
	}
	s.activate(st)
	s.expect(s.vm[0], func(int) spec { return spec{dst: s.old(1)} }, 0, int(g.HeldNow))
}

// expectFirst holds more packets than the group may and checks that the first
// ones come out.
func (s *stand) expectFirst(st hwabstraction.Stamp, room, sent int) {
	s.Helper()
	s.put(s.deliverHere(1, st))
	before := s.drops("hold_full")
	s.toward(func(int) spec { return spec{dst: s.here(1)} }, 0, sent)
	s.silence(s.vm[0], s.fabric)
	if g := s.group(st); g.HeldNow != uint64(room) || g.HoldDrops != uint64(sent-room) {
		s.Errorf("%d packets into room for %d: %+v", sent, room, g)
	}
	if got := s.drops("hold_full") - before; got != uint64(sent-room) {
		s.Errorf("hold_full counted %d, want %d", got, sent-room)
	}
	s.activate(st)
	s.expect(s.vm[0], func(int) spec { return spec{dst: s.old(1)} }, 0, room)
}

func checkHoldReopen(s *stand) {
	st := owner(1, 1)
	here := func(int) spec { return spec{dst: s.here(1)} }
	s.put(s.deliverHere(1, st))
	s.toward(here, 0, 20)
	s.do("Close", s.dev.Close())
	s.toward(here, 20, 40)
	s.dev = s.reopen(s)
	s.toward(here, 40, 60)
	s.silence(s.vm[0])
	s.activate(st)
	s.toward(here, 60, 80)
	s.expect(s.vm[0], func(int) spec { return spec{dst: s.old(1)} }, 0, 80)
}

func checkGiveBack(s *stand) {
	st := owner(1, 2)
	here := func(int) spec { return spec{dst: s.here(1)} }
	old := func(int) spec { return spec{dst: s.old(1)} }
	rules := s.heldHere(1, st)
	s.put(rules...)
	s.toward(here, 0, 20)
	s.do("GiveBack", s.dev.GiveBack(s.Context(), st))
	s.toward(here, 20, 30)
	s.expect(s.fabric, old, 0, 30)
	s.silence(s.vm...)
	if g := s.group(st); !g.Returning || g.Active || g.HeldNow != 0 {
		s.Errorf("after giving back: %+v", g)
	}
	s.do("GiveBack again", s.dev.GiveBack(s.Context(), st))
	s.remove(rules...)
	s.toward(here, 30, 32)
	s.expect(s.fabric, here, 30, 32)
}

func checkGivenBackStays(s *stand) {
	st := owner(1, 2)
	here, old := func(int) spec { return spec{dst: s.here(1)} }, func(int) spec { return spec{dst: s.old(1)} }
	s.put(s.heldHere(1, st)...)
	s.do("GiveBack", s.dev.GiveBack(s.Context(), st))
	if err := s.dev.Activate(st); !errors.Is(err, hwabstraction.ErrStale) {
		s.Errorf("Activate after GiveBack: %v, want ErrStale", err)
	}
	s.toward(here, 0, 4)
	s.toward(old, 4, 6)
	s.expect(s.fabric, old, 0, 6)
	s.silence(s.vm...)
	if g := s.group(st); !g.Returning || g.Active {
		s.Errorf("after both: %+v", g)
	}
}

func checkNothingToGiveBack(s *stand) {
	st := owner(1, 2)
	s.put(s.heldHere(1, st)...)
	s.activate(st)
	s.do("GiveBack", s.dev.GiveBack(s.Context(), st))
	s.toward(func(int) spec { return spec{dst: s.here(1)} }, 0, 4)
	s.expect(s.vm[0], func(int) spec { return spec{dst: s.old(1)} }, 0, 4)
	s.silence(s.fabric)
	if g := s.group(st); g.Returning || !g.Active {
		s.Errorf("after both: %+v", g)
	}
}

func checkHoldNegative(s *stand) {
	for _, l := range []hwabstraction.HoldLimit{{Packets: -1}, {Bytes: -1}, {Time: -1}} {
		if err := s.dev.SetHoldLimit(owner(1, 1), l); !errors.Is(err, hwabstraction.ErrInvalidRule) {
			s.Errorf("SetHoldLimit(%+v): %v, want ErrInvalidRule", l, err)
		}
	}
}

func checkHoldApart(s *stand) {
	first, second := owner(1, 1), owner(2, 1)
	s.put(s.deliverHere(1, first), s.deliverHere(2, second))
	s.toward(func(i int) spec { return spec{dst: s.here(1 + i%2)} }, 0, 20)
	s.activate(second)
	for k, h := range s.leaves(s.vm[0], 10) {
		if number(h.b) != 2*k+1 || h.dst != s.old(2) {
			s.Errorf("packet %d to %s came from a hold that was activated", number(h.b), h.dst)
		}
	}
	if g := s.group(first); g.HeldNow != 10 || g.Active {
		s.Errorf("the other group: %+v", g)
	}
}
