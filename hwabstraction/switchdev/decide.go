package switchdev

import (
	"net/netip"

	"github.com/dpmip/dpmip/hwabstraction"
)

// verdict is what the packets to one address plainly meet. The zero verdict is
// the slow path.
type verdict struct {
	deliver  *hwabstraction.Deliver  // to this VM; else
	redirect *hwabstraction.Redirect // towards another hypervisor
	to       netip.Addr              // the destination that is written; that of the packet where nothing is
	restored bool                    // redirected by the address that a Deliver restored
	count    []hwabstraction.RuleID  // the rules that take the packet
}

func (v verdict) slow() bool { return v.deliver == nil && v.redirect == nil }

// decide says what the packets to an address of a VM meet, by the order of
// package hwabstraction. Whatever is not plain is the slow path's: a trap, a hold
// that is not over, a redirect whose first packet is not timed, and what depends
// on rules of another VM.
func (m *model) decide(o owner, a netip.Addr, phases map[hwabstraction.Stamp]phase) verdict {
	s := m.spots[a]
	if s == nil || s.traps > 0 || !s.of(o) {
		return verdict{}
	}
	del, red := s.acting(phases)
	switch {
	case del != nil && (red == nil || del.Stamp.Epoch >= red.Stamp.Epoch):
		if p := phases[del.Stamp]; !p.active || !p.settled {
			return verdict{}
		}
		if del.Restore == a {
			return m.arrive(verdict{deliver: del, to: a, count: []hwabstraction.RuleID{del.ID()}})
		}
		return m.restore(o, del, phases)
	case red != nil && phases[red.Stamp].hit:
		return verdict{redirect: red, to: red.To, count: []hwabstraction.RuleID{red.ID()}}
	}
	return verdict{}
}

// of reports whether all that stands there is one VM's.
func (s *spot) of(o owner) bool {
	return (s.deliver == nil || s.deliver.Stamp.Owner == o) && (s.redirect == nil || s.redirect.Stamp.Owner == o)
}

// acting are the rules that claim packets: an armed Redirect, a Deliver that is
// active or holds.
func (s *spot) acting(phases map[hwabstraction.Stamp]phase) (del *hwabstraction.Deliver, red *hwabstraction.Redirect) {
	if d := s.deliver; d != nil && (d.Hold || phases[d.Stamp].active) {
		del = d
	}
	if r := s.redirect; r != nil && phases[r.Stamp].armed {
		red = r
	}
	return del, red
}

// restore decides the packets to a delivery address once more, by the address
// that is restored.
func (m *model) restore(o owner, first *hwabstraction.Deliver, phases map[hwabstraction.Stamp]phase) verdict {
	v := verdict{deliver: first, to: first.Restore, count: []hwabstraction.RuleID{first.ID()}}
	s := m.spots[first.Restore]
	if s == nil {
		return m.arrive(v)
	}
	if !s.of(o) {
		return verdict{}
	}
	del, red := s.acting(phases)
	if del != nil {
		// An older delivery than the first, or one that restores in turn, is not plain.
		if p := phases[del.Stamp]; !p.active || !p.settled || del.Stamp.Epoch < first.Stamp.Epoch || del.Restore != del.Address {
			return verdict{}
		}
		if del.Stamp != first.Stamp {
			v.count = append(v.count, del.ID())
		}
		v.deliver = del
	}
	switch {
	case red == nil, del != nil && red.Stamp.Epoch <= del.Stamp.Epoch:
		return m.arrive(v)
	case red.Stamp.Epoch > v.deliver.Stamp.Epoch && phases[red.Stamp].hit:
		return verdict{redirect: red, to: red.To, restored: true, count: append(v.count, red.ID())}
	}
	return verdict{} // the first packet is not timed, or an older redirect is alone at the address
}

// arrive holds the verdict only if all that delivers to this address names one
// port and MAC: the slow path goes by the newest of them.
func (m *model) arrive(v verdict) verdict {
	for a := range m.restores[v.to] {
		if d := m.spots[a].deliver; d.Port != v.deliver.Port || d.MAC != v.deliver.MAC {
			return verdict{}
		}
	}
	return v
}

// verdicts are those of all addresses of a VM.
func (m *model) verdicts(o owner, phases map[hwabstraction.Stamp]phase) map[netip.Addr]verdict {
	out := make(map[netip.Addr]verdict, len(m.owned[o]))
	for a := range m.owned[o] {
		out[a] = m.decide(o, a, phases)
	}
	return out
}
