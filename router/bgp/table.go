package bgp

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/dpmip/dpmip/router"
)

// Learned is one peer's route for one prefix.
type Learned struct {
	Update
	Since   time.Time // when it came, or changed
	Refused error     // why it is not used; nil: it may be
	Best    bool      // it is the one in the kernel
}

// Table holds what peers have said and chooses among it. It is pure, and used
// by one goroutine.
type Table struct {
	cfg     *Config
	policy  *Policy
	order   map[netip.Addr]int // of the peers, as configured
	learned map[netip.Prefix]map[netip.Addr]*Learned
	used    int // prefixes with a best route
	refused int // routes with a reason not to be used
	full    int // refusals for want of room since waiting was asked
}

// NewTable returns an empty Table.
func NewTable(c *Config) *Table {
	t := &Table{cfg: c, policy: NewPolicy(c), order: map[netip.Addr]int{}, learned: map[netip.Prefix]map[netip.Addr]*Learned{}}
	for i, p := range c.Peers {
		t.order[p.Address] = i
	}
	return t
}

func (t *Table) limit() int {
	if t.cfg.MaxImports == 0 {
		return 65536
	}
	return t.cfg.MaxImports
}

// Take records updates and returns what the kernel should hold now.
func (t *Table) Take(now time.Time, us []Update) []router.Change {
	touched := map[netip.Prefix]bool{}
	before := map[netip.Prefix]netip.Addr{}
	for _, u := range us {
		if !touched[u.Prefix] {
			touched[u.Prefix], before[u.Prefix] = true, t.hop(u.Prefix)
		}
		t.record(now, u)
	}
	out := t.settle(touched, before)
	if t.used < t.limit() {
		out = append(out, t.settle(t.waiting(), nil)...)
	}
	return out
}

// settle chooses anew for prefixes whose next hops were as in before.
func (t *Table) settle(touched map[netip.Prefix]bool, before map[netip.Prefix]netip.Addr) []router.Change {
	var out []router.Change
	for _, p := range slices.SortedFunc(maps.Keys(touched), comparePrefix) {
		t.choose(p)
		if hop := t.hop(p); hop != before[p] {
			out = append(out, router.Change{Address: p.Addr(), Locator: hop})
		}
	}
	return out
}

// waiting lists the prefixes that had no room.
func (t *Table) waiting() map[netip.Prefix]bool {
	if t.full == 0 {
		return nil
	}
	t.full = 0
	out := map[netip.Prefix]bool{}
	for p, of := range t.learned {
		for _, l := range of {
			if errors.Is(l.Refused, ErrFull) {
				out[p] = true
			}
		}
	}
	return out
}

func comparePrefix(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

func (t *Table) record(now time.Time, u Update) {
	of := t.learned[u.Prefix]
	if u.Withdraw {
		t.forget(of[u.Peer])
		delete(of, u.Peer)
		if len(of) == 0 {
			delete(t.learned, u.Prefix)
		}
		return
	}
	if of == nil {
		of = map[netip.Addr]*Learned{}
		t.learned[u.Prefix] = of
	}
	l := &Learned{Update: u, Since: now}
	t.refuse(l, t.policy.Import(&u))
	if old := of[u.Peer]; old != nil {
		t.refuse(old, nil)
		l.Best = old.Best // until choose
		if old.NextHop == u.NextHop && slices.Equal(old.Path, u.Path) {
			l.Since = old.Since
		}
	}
	of[u.Peer] = l
}

// forget takes what is about to go out of the counts; nil is nothing.
func (t *Table) forget(l *Learned) {
	if l == nil {
		return
	}
	t.refuse(l, nil)
	if l.Best {
		t.used--
	}
}

// refuse sets a route's reason not to be used and keeps the count.
func (t *Table) refuse(l *Learned, reason error) {
	if l.Refused != nil {
		t.refused--
	}
	if l.Refused = reason; reason != nil {
		t.refused++
	}
}

// choose marks the best of a prefix: the shortest path, then the peer named
// first in the configuration.
func (t *Table) choose(p netip.Prefix) {
	var best *Learned
	had := false
	for _, l := range t.learned[p] {
		had = had || l.Best
		l.Best = false
		if l.Refused != nil && !errors.Is(l.Refused, ErrFull) {
			continue
		}
		t.refuse(l, nil)
		if best == nil || t.better(l, best) {
			best = l
		}
	}
	if had {
		t.used--
	}
	if best == nil {
		return
	}
	if t.used >= t.limit() {
		t.full++
		t.refuse(best, fmt.Errorf("%s: %w (%d)", p, ErrFull, t.limit()))
		return
	}
	best.Best = true
	t.used++
}

func (t *Table) better(a, b *Learned) bool {
	return cmp.Or(cmp.Compare(len(a.Path), len(b.Path)), cmp.Compare(t.order[a.Peer], t.order[b.Peer])) < 0
}

// hop is the next hop of the best route of a prefix; invalid: there is none.
func (t *Table) hop(p netip.Prefix) netip.Addr {
	for _, l := range t.learned[p] {
		if l.Best {
			return l.NextHop
		}
	}
	return netip.Addr{}
}

// Used is how many prefixes are in the kernel, and Limit how many may be.
func (t *Table) Used() int { return t.used }

// Limit is how many prefixes may be used.
func (t *Table) Limit() int { return t.limit() }

// List lists everything learned, by prefix and peer.
func (t *Table) List() []Learned {
	var out []Learned
	for _, of := range t.learned {
		for _, l := range of {
			out = append(out, *l)
		}
	}
	slices.SortFunc(out, func(a, b Learned) int { return cmp.Or(comparePrefix(a.Prefix, b.Prefix), a.Peer.Compare(b.Peer)) })
	return out
}

// Count counts a peer's routes: used or spare, and refused.
func (t *Table) Count(peer netip.Addr) (accepted, refused int) {
	for _, of := range t.learned {
		if l := of[peer]; l == nil {
			continue
		} else if l.Refused != nil {
			refused++
		} else {
			accepted++
		}
	}
	return accepted, refused
}

// Refused counts the routes of all peers that are not used because of policy or
// room.
func (t *Table) Refused() int { return t.refused }
