package haltest

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/dpmip/dpmip/hwabstraction"
)

// most is the largest table that the suite fills.
const most = 8192

var boundChecks = []check{
	{name: "a full table says so and takes rules again", run: checkTableFull},
	{name: "flows that do not fit are told", needs: judging, run: checkFlowsFull},
	{name: "groups are switched during a batch", run: checkDuringApply},
}

// many are n rules of one VM at addresses of their own.
func (s *stand) many(st hwabstraction.Stamp, n int) (changes []hwabstraction.Change) {
	for i := range n {
		b := s.old(0).AsSlice()
		binary.BigEndian.PutUint16(b[len(b)-2:], uint16(0x4000+i))
		a, _ := netip.AddrFromSlice(b)
		changes = append(changes, hwabstraction.Put(hwabstraction.Redirect{
			Stamp: st, Address: a, To: s.there(1), Locator: s.locator,
		}))
	}
	return changes
}

func checkTableFull(s *stand) {
	room := s.dev.Capabilities().MaxRules
	if room == 0 || room > most {
		s.Skipf("a table of %d rules (0: not told) is not filled here", room)
	}
	st := owner(1, 1)
	changes := s.many(st, room+10)
	full := 0
	for _, r := range s.apply(changes...) {
		switch {
		case errors.Is(r.Err, hwabstraction.ErrTableFull):
			full++
		case r.Err != nil:
			s.Fatalf("%s: %v, want ErrTableFull", r.ID, r.Err)
		}
	}
	if full < 10 {
		s.Errorf("%d rules into room for %d: %d were refused", len(changes), room, full)
	}
	if got := len(s.rules()); got != len(changes)-full {
		s.Errorf("%d rules are there, want %d", got, len(changes)-full)
	}
	s.remove(changes[0].Rule, changes[1].Rule)
	s.put(changes[0].Rule, changes[1].Rule)
}

func checkFlowsFull(s *stand) {
	room := s.dev.Capabilities().MaxFlows
	if room == 0 || room > most {
		s.Skipf("a table of %d flows (0: not told) is not filled here", room)
	}
	r := s.redirect(1, owner(1, 1))
	s.put(r)
	flows := make([]hwabstraction.Flow, room+100)
	for i := range flows {
		flows[i] = hwabstraction.Flow{
			Protocol: protoUDP,
			VM:       hwabstraction.Endpoint{Addr: r.Address, Port: uint16(i)},
			Peer:     hwabstraction.Endpoint{Addr: s.peer, Port: 9},
		}
	}
	n, err := s.dev.LoadFlows(s.Context(), r.Stamp, flows)
	if !errors.Is(err, hwabstraction.ErrTableFull) || n == 0 || n > room {
		s.Errorf("of %d flows into room for %d were taken %d: %v, want ErrTableFull", len(flows), room, n, err)
	}
	s.remove(r)
	s.put(r)
	if n, err := s.dev.LoadFlows(s.Context(), r.Stamp, flows[:10]); n != 10 || err != nil {
		s.Errorf("after the group was deleted, of 10 flows were taken %d: %v", n, err)
	}
}

func checkDuringApply(s *stand) {
	st, other := owner(1, 1), owner(2, 1)
	s.put(s.redirect(1, st), s.deliverHere(2, st))
	changes := s.many(other, 100)
	done := make(chan error, 1)
	go func() {
		var errs error
		for range 5 {
			for _, r := range s.dev.Apply(s.Context(), changes) {
				errs = errors.Join(errs, r.Err)
			}
		}
		done <- errs
	}()
	for running := true; running; {
		select {
		case err := <-done:
			s.do("Apply", err)
			running = false
		default:
			s.arm(st)
			s.disarm(st)
			s.counter(hwabstraction.RedirectID(s.old(1)))
			s.group(st)
		}
	}
	s.activate(st)
	if g := s.group(st); g.Armed || !g.Active {
		s.Errorf("in the end: %+v", g)
	}
	if g := s.group(other); g.Armed || g.Active {
		s.Errorf("the group that was put meanwhile: %+v", g)
	}
}
