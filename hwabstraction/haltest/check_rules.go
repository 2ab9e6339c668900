package haltest

import (
	"errors"
	"time"

	"github.com/dpmip/dpmip/hwabstraction"
)

var ruleChecks = []check{
	{name: "every kind is read back", run: checkReadBack},
	{name: "a put repeated changes nothing", run: checkIdempotent},
	{name: "deleting what is absent is no error", run: checkDeleteAbsent},
	{name: "a lower epoch is refused", run: checkStalePut},
	{name: "a delete takes nothing of a newer epoch or another owner", run: checkForeignDelete},
	{name: "a newer epoch replaces", run: checkReplace},
	{name: "a failed change does not undo others", run: checkPartial},
	{name: "changes of one ID keep their order", run: checkOneID},
	{name: "a port that is not there", run: checkPortGone},
	{name: "a stamp without rules has no group", run: checkNoGroup},
	{name: "groups start off", run: checkGroupsOff},
	{name: "switching repeats without error", run: checkSwitching},
	{name: "a new device finds the rules of the old", run: checkReopen},
	{name: "a closed device", run: checkClosed},
	{name: "capabilities have reasons", run: checkCapabilities},
}

// oneOfEach is a rule of each kind, of one VM.
func (s *stand) oneOfEach(st hwabstraction.Stamp) []hwabstraction.Rule {
	p := s.vm[0]
	return []hwabstraction.Rule{
		hwabstraction.HostRoute{Stamp: st, Address: s.old(1), Locator: s.locator},
		hwabstraction.Redirect{Stamp: st, Address: s.old(2), To: s.there(2), Locator: s.locator},
		hwabstraction.Deliver{Stamp: st, Address: s.here(3), Restore: s.old(3), Port: p.Name, MAC: p.Far, Hold: true},
		hwabstraction.Egress{Stamp: st, Port: p.Name, Source: s.old(3), MAC: p.Far},
		hwabstraction.Trap{Stamp: st, Address: s.old(4), Protocol: 17, Rate: 10},
		hwabstraction.Unreachable{Stamp: st, Prefix: s.vmRange},
	}
}

// status is what Rules should say of a rule.
func status(r hwabstraction.Rule, on bool) hwabstraction.RuleStatus {
	switch r.(type) {
	case hwabstraction.Redirect, hwabstraction.Deliver:
	default:
		on = true
	}
	return hwabstraction.RuleStatus{Rule: r, On: on}
}

func statuses(rules []hwabstraction.Rule, on bool) []hwabstraction.RuleStatus {
	var out []hwabstraction.RuleStatus
	for _, r := range rules {
		out = append(out, status(r, on))
	}
	return out
}

func (s *stand) redirect(i int, st hwabstraction.Stamp) hwabstraction.Redirect {
	return hwabstraction.Redirect{Stamp: st, Address: s.old(i), To: s.there(i), Locator: s.locator}
}

// deliverOld delivers the i-th old address as it is.
func (s *stand) deliverOld(i int, st hwabstraction.Stamp) hwabstraction.Deliver {
	p := s.vm[0]
	return hwabstraction.Deliver{Stamp: st, Address: s.old(i), Restore: s.old(i), Port: p.Name, MAC: p.Far}
}

// deliverHere delivers the i-th delivery address, restored, held until active.
func (s *stand) deliverHere(i int, st hwabstraction.Stamp) hwabstraction.Deliver {
	p := s.vm[0]
	return hwabstraction.Deliver{Stamp: st, Address: s.here(i), Restore: s.old(i), Port: p.Name, MAC: p.Far, Hold: true}
}

func checkReadBack(s *stand) {
	rules := s.oneOfEach(owner(1, 1))
	s.expectRules()
	s.put(rules...)
	s.expectRules(statuses(rules, false)...)
	s.remove(rules...)
	s.expectRules()
}

func checkIdempotent(s *stand) {
	rules := s.oneOfEach(owner(1, 1))
	s.put(rules...)
	s.arm(owner(1, 1))
	s.activate(owner(1, 1))
	before := s.rules()
	s.put(rules...)
	s.expectRules(before...)
}

func checkDeleteAbsent(s *stand) {
	rules := s.oneOfEach(owner(1, 1))
	s.remove(rules...)
	s.put(rules[0])
	s.remove(rules...)
	s.remove(rules...)
	s.expectRules()
}

func checkStalePut(s *stand) {
	rules := s.oneOfEach(owner(1, 5))
	s.put(rules...)
	for i, r := range s.oneOfEach(owner(1, 4)) {
		if got := s.apply(hwabstraction.Put(r))[0].Err; !errors.Is(got, hwabstraction.ErrStale) {
			s.Errorf("put of epoch 4 over %s of epoch 5: %v, want ErrStale", rules[i].ID(), got)
		}
	}
	s.expectRules(statuses(rules, false)...)
}

func checkForeignDelete(s *stand) {
	rules := s.oneOfEach(owner(1, 5))
	s.put(rules...)
	for _, st := range []hwabstraction.Stamp{owner(1, 4), owner(2, 5), owner(2, 9)} {
		for _, r := range rules {
			s.change(hwabstraction.Remove(r.ID(), st))
		}
		s.expectRules(statuses(rules, false)...)
	}
	for _, r := range rules {
		s.change(hwabstraction.Remove(r.ID(), owner(1, 6)))
	}
	s.expectRules()
}

func checkReplace(s *stand) {
	s.put(s.oneOfEach(owner(1, 5))...)
	rules := s.oneOfEach(owner(1, 6))
	s.put(rules...)
	s.expectRules(statuses(rules, false)...)
	if _, err := s.dev.Group(owner(1, 5)); !errors.Is(err, hwabstraction.ErrNoGroup) {
		s.Errorf("the group whose rules were all replaced: %v, want ErrNoGroup", err)
	}
}

func checkPartial(s *stand) {
	st := owner(1, 1)
	good, late := s.redirect(1, st), s.redirect(2, st)
	bad := hwabstraction.Redirect{Stamp: st, Address: s.old(3), Locator: s.locator}
	got := s.apply(hwabstraction.Put(good), hwabstraction.Put(bad), hwabstraction.Put(late))
	if got[0].Err != nil || got[2].Err != nil {
		s.Errorf("good changes beside a bad one: %v, %v", got[0].Err, got[2].Err)
	}
	if !errors.Is(got[1].Err, hwabstraction.ErrInvalidRule) {
		s.Errorf("a redirect to nowhere: %v, want ErrInvalidRule", got[1].Err)
	}
	s.expectRules(status(good, false), status(late, false))
}

func checkOneID(s *stand) {
	st := owner(1, 1)
	r := s.redirect(1, st)
	s.change(hwabstraction.Remove(r.ID(), st), hwabstraction.Put(r))
	s.expectRules(status(r, false))
	s.change(hwabstraction.Put(r), hwabstraction.Remove(r.ID(), st))
	s.expectRules()
}

func checkPortGone(s *stand) {
	st := owner(1, 1)
	d := s.deliverOld(1, st)
	d.Port = "nosuch0"
	if got := s.apply(hwabstraction.Put(d))[0].Err; !errors.Is(got, hwabstraction.ErrPortGone) {
		s.Errorf("deliver to a port that is not there: %v, want ErrPortGone", got)
	}
	e := hwabstraction.Egress{Stamp: st, Port: d.Port, Source: s.old(1), MAC: s.vm[0].Far}
	if got := s.apply(hwabstraction.Put(e))[0].Err; !errors.Is(got, hwabstraction.ErrPortGone) {
		s.Errorf("egress of a port that is not there: %v, want ErrPortGone", got)
	}
	if err := s.dev.Transmit(d.Port, make([]byte, 60)); !errors.Is(err, hwabstraction.ErrPortGone) {
		s.Errorf("transmit on a port that is not there: %v, want ErrPortGone", err)
	}
	s.expectRules()
}

func checkNoGroup(s *stand) {
	s.put(hwabstraction.HostRoute{Stamp: owner(1, 1), Address: s.old(1), Locator: s.locator}, s.redirect(2, owner(1, 2)))
	for _, st := range []hwabstraction.Stamp{owner(1, 1), owner(1, 3), owner(2, 2)} {
		_, group := s.dev.Group(st)
		_, load := s.dev.LoadFlows(s.Context(), st, nil)
		for what, err := range map[string]error{
			"Arm": s.dev.Arm(st), "Disarm": s.dev.Disarm(st), "Activate": s.dev.Activate(st),
			"GiveBack": s.dev.GiveBack(s.Context(), st), "Group": group, "LoadFlows": load,
		} {
			if !errors.Is(err, hwabstraction.ErrNoGroup) {
				s.Errorf("%s of %s, which has neither redirect nor deliver: %v, want ErrNoGroup", what, st, err)
			}
		}
	}
}

func checkGroupsOff(s *stand) {
	st := owner(1, 1)
	s.put(s.redirect(1, st), s.deliverHere(2, st))
	g := s.group(st)
	if g.Stamp != st || g.Armed || g.Active || g.Returning || !g.ArmedAt.IsZero() || !g.FirstHit.IsZero() {
		s.Errorf("a new group is not off: %+v", g)
	}
	s.arm(st)
	s.expectRules(status(s.redirect(1, st), true), status(s.deliverHere(2, st), false))
	s.activate(st)
	s.expectRules(status(s.redirect(1, st), true), status(s.deliverHere(2, st), true))
	s.remove(s.redirect(1, st), s.deliverHere(2, st))
	if _, err := s.dev.Group(st); !errors.Is(err, hwabstraction.ErrNoGroup) {
		s.Fatalf("a group whose rules are gone: %v, want ErrNoGroup", err)
	}
	s.put(s.redirect(1, st), s.deliverHere(2, st))
	if g := s.group(st); g.Armed || g.Active {
		s.Errorf("a group that was deleted and put again is not off: %+v", g)
	}
}

func checkSwitching(s *stand) {
	st := owner(1, 1)
	s.put(s.redirect(1, st), s.deliverHere(2, st))
	for range 2 {
		s.arm(st)
	}
	if g := s.group(st); !g.Armed || g.Active || g.ArmedAt.IsZero() {
		s.Errorf("armed twice: %+v", g)
	}
	for range 2 {
		s.disarm(st)
	}
	if g := s.group(st); g.Armed {
		s.Errorf("disarmed: %+v", g)
	}
	for range 2 {
		s.activate(st)
	}
	if g := s.group(st); !g.Active || g.Armed {
		s.Errorf("activated twice: %+v", g)
	}
}

func checkReopen(s *stand) {
	armed, off := owner(1, 1), owner(2, 7)
	rules := s.oneOfEach(armed)
	other := s.redirect(8, off)
	s.put(append(rules, other)...)
	s.arm(armed)
	before, group := s.rules(), s.group(armed)
	s.dev = s.reopen(s)
	s.expectRules(before...)
	// Two processes convert the device's clock at different moments.
	if got := s.group(armed); got.Armed != group.Armed || got.ArmedAt.Sub(group.ArmedAt).Abs() > time.Second {
		s.Errorf("the group after reopening: %+v, before: %+v", got, group)
	}
	s.activate(armed)
	s.remove(append(rules, other)...)
	s.expectRules()
}

func checkClosed(s *stand) {
	st := owner(1, 1)
	r := s.redirect(1, st)
	s.put(r)
	s.do("Close", s.dev.Close())
	_, rules := s.dev.Rules(s.Context())
	for what, err := range map[string]error{
		"Apply": s.apply(hwabstraction.Put(r))[0].Err, "Rules": rules, "Arm": s.dev.Arm(st),
		"Transmit": s.dev.Transmit(s.fabric.Name, make([]byte, 60)),
	} {
		if !errors.Is(err, hwabstraction.ErrClosed) {
			s.Errorf("%s after Close: %v, want ErrClosed", what, err)
		}
	}
	s.dev = s.reopen(s)
	s.expectRules(status(r, false))
}

func checkCapabilities(s *stand) {
	c := s.dev.Capabilities()
	if c.Backend == "" {
		s.Error("the backend has no name")
	}
	for _, f := range c.Features {
		if f.Answer != hwabstraction.Yes && f.Reason == "" {
			s.Errorf("%s is %s without a reason", f.Feature, f.Answer)
		}
	}
}
