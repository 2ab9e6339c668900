package switchdev

import (
	"net/netip"

	"github.com/dpmip/dpmip/hwabstraction"
)

// owner is the owner hash of a stamp: one VM.
type owner [16]byte

// phase is what the slow path says of a group, as far as decisions need it.
type phase struct {
	armed, active bool
	hit           bool // armed, and the slow path has redirected and timed the first packet
	settled       bool // active, and nothing that was held is on its way
}

// spot is what stands at one address.
type spot struct {
	deliver  *hwabstraction.Deliver
	redirect *hwabstraction.Redirect
	traps    int
}

func (s *spot) empty() bool { return s.deliver == nil && s.redirect == nil && s.traps == 0 }

// model holds the rules that the slow path has, by what decisions ask for.
type model struct {
	rules    map[hwabstraction.RuleID]hwabstraction.Rule
	spots    map[netip.Addr]*spot
	owned    map[owner]map[netip.Addr]bool      // addresses at which a VM has a Deliver or Redirect
	restores map[netip.Addr]map[netip.Addr]bool // delivery addresses, by the address that they restore
	sources  map[string]map[netip.Addr]hwabstraction.Egress
}

func newModel() *model {
	return &model{
		rules:    map[hwabstraction.RuleID]hwabstraction.Rule{},
		spots:    map[netip.Addr]*spot{},
		owned:    map[owner]map[netip.Addr]bool{},
		restores: map[netip.Addr]map[netip.Addr]bool{},
		sources:  map[string]map[netip.Addr]hwabstraction.Egress{},
	}
}

func insert[K, V comparable](sets map[K]map[V]bool, k K, v V) {
	if sets[k] == nil {
		sets[k] = map[V]bool{}
	}
	sets[k][v] = true
}

func withdraw[K, V comparable](sets map[K]map[V]bool, k K, v V) {
	if delete(sets[k], v); len(sets[k]) == 0 {
		delete(sets, k)
	}
}

func (m *model) spot(a netip.Addr) *spot {
	s := m.spots[a]
	if s == nil {
		s = &spot{}
		m.spots[a] = s
	}
	return s
}

// put enters a rule in place of the one with its ID.
func (m *model) put(r hwabstraction.Rule) {
	m.remove(r.ID())
	m.rules[r.ID()] = r
	switch r := r.(type) {
	case hwabstraction.Deliver:
		m.spot(r.Address).deliver = &r
		insert(m.owned, r.Stamp.Owner, r.Address)
		insert(m.restores, r.Restore, r.Address)
	case hwabstraction.Redirect:
		m.spot(r.Address).redirect = &r
		insert(m.owned, r.Stamp.Owner, r.Address)
	case hwabstraction.Trap:
		m.spot(r.Address).traps++
	case hwabstraction.Egress:
		if m.sources[r.Port] == nil {
			m.sources[r.Port] = map[netip.Addr]hwabstraction.Egress{}
		}
		m.sources[r.Port][r.Source] = r
	}
}

// remove takes a rule out; an absent one is no error.
func (m *model) remove(id hwabstraction.RuleID) {
	old, ok := m.rules[id]
	if !ok {
		return
	}
	delete(m.rules, id)
	a := id.Prefix.Addr()
	switch r := old.(type) {
	case hwabstraction.Deliver:
		m.spots[a].deliver = nil
		withdraw(m.restores, r.Restore, a)
		m.disown(owner(r.Stamp.Owner), a)
	case hwabstraction.Redirect:
		m.spots[a].redirect = nil
		m.disown(owner(r.Stamp.Owner), a)
	case hwabstraction.Trap:
		m.spots[a].traps--
	case hwabstraction.Egress:
		if delete(m.sources[r.Port], a); len(m.sources[r.Port]) == 0 {
			delete(m.sources, r.Port)
		}
	}
	if s := m.spots[a]; s != nil && s.empty() {
		delete(m.spots, a)
	}
}

// disown forgets that a VM is at an address, unless its other rule is there.
func (m *model) disown(o owner, a netip.Addr) {
	s := m.spots[a]
	if s.deliver != nil && s.deliver.Stamp.Owner == o || s.redirect != nil && s.redirect.Stamp.Owner == o {
		return
	}
	withdraw(m.owned, o, a)
}

// owns reports whether a delete under this stamp takes the rule: that of the
// same owner, at or below the epoch.
func owns(s hwabstraction.Stamp, r hwabstraction.Rule) bool {
	have := r.Stamped()
	return have.Owner == s.Owner && have.Epoch <= s.Epoch
}

// touched are the VMs whose filters depend on what stands at an address.
func (m *model) touched(a netip.Addr, into map[owner]bool) {
	at := func(a netip.Addr) {
		s := m.spots[a]
		if s == nil {
			return
		}
		if s.deliver != nil {
			into[s.deliver.Stamp.Owner] = true
		}
		if s.redirect != nil {
			into[s.redirect.Stamp.Owner] = true
		}
	}
	at(a)
	for d := range m.restores[a] {
		at(d)
	}
	if s := m.spots[a]; s != nil && s.deliver != nil {
		for d := range m.restores[s.deliver.Restore] {
			at(d)
		}
	}
}

// stamps are the groups that the filters of a VM depend on.
func (m *model) stamps(o owner) []hwabstraction.Stamp {
	seen := map[hwabstraction.Stamp]bool{}
	var out []hwabstraction.Stamp
	note := func(s hwabstraction.Stamp) {
		if s.Owner == o && !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	for a := range m.owned[o] {
		if s := m.spots[a]; s.deliver != nil {
			note(s.deliver.Stamp)
		}
		if s := m.spots[a]; s.redirect != nil {
			note(s.redirect.Stamp)
		}
	}
	return out
}
