package mgmt

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/dpmip/dpmip/mgmt/inventory"
	"github.com/dpmip/dpmip/mobility"
)

// contender is an address that is routed, or would be if there were room.
type contender struct {
	vm      mobility.VMID
	addr    netip.Addr
	routers []string  // where it needs room
	rate    float64   // packets per second
	since   time.Time // of its last change between routed and translated; of its move
	yielded bool      // translated now
	// fixed: it must stay as it is, in the middle of a move or of a change.
	fixed bool
	// fresh: it has moved just now and nobody has measured it yet. Until then
	// nobody gives way to it, and its room is given to nobody.
	fresh bool
}

// contest decides who has the room. It is pure: a function of what is told.
type contest struct {
	limits map[string]int // of routers; not listed = unlimited
	now    time.Time
	begun  time.Time // nobody's place is taken within a settling time of it
	policy inventory.Budget
	list   []*contender
	used   map[string]int
	// reserved is the room for rehearsals: it counts, and nobody of it gives way.
	reserved map[string]int
}

// change is what a contest has decided for one address.
type change struct {
	*contender
	router string // that is full; "" = there is room again
}

// decide gives the addresses that give way, and those that are to be routed
// again, in that order; short names the routers that stay too full, because
// nobody there may give way now.
func (x *contest) decide() (changes []change, short []string) {
	x.sort()
	x.count(func(c *contender) bool { return !c.yielded && !c.fresh })
	for _, c := range x.list {
		if r := x.over(c); r != "" && !c.yielded && !c.fixed && !c.fresh {
			changes = append(changes, x.yield(c, r))
		}
	}
	for _, r := range sortedKeys(x.limits) {
		if x.used[r] > x.limits[r] {
			short = append(short, r)
		}
	}
	x.count(func(c *contender) bool { return !c.yielded })
	changes = append(changes, x.swap()...)
	for _, c := range slices.Backward(x.list) {
		if c.yielded && x.settled(c) && x.fits(c) {
			changes = append(changes, x.back(c))
		}
	}
	return changes, short
}

// sort puts the quietest first; of equals the one that came last, so that as
// little as possible changes.
func (x *contest) sort() {
	slices.SortFunc(x.list, func(a, b *contender) int {
		return cmp.Or(cmp.Compare(a.rate, b.rate), b.since.Compare(a.since), strings.Compare(a.vm.String(), b.vm.String()), a.addr.Compare(b.addr))
	})
}

func (x *contest) count(f func(*contender) bool) {
	x.used = maps.Clone(x.reserved)
	for _, c := range x.list {
		if f(c) {
			x.take(c, 1)
		}
	}
}

func (x *contest) take(c *contender, n int) {
	for _, r := range c.routers {
		x.used[r] += n
	}
}

// over names the first of the address's routers that holds too much; "" = none.
func (x *contest) over(c *contender) string {
	for _, r := range c.routers {
		if limit, known := x.limits[r]; known && x.used[r] > limit {
			return r
		}
	}
	return ""
}

// fits reports whether there is room for one more at all of its routers.
func (x *contest) fits(c *contender) bool {
	for _, r := range c.routers {
		if limit, known := x.limits[r]; known && x.used[r] >= limit {
			return false
		}
	}
	return true
}

// settled reports whether the address may change again.
func (x *contest) settled(c *contender) bool {
	return !c.fixed && !c.fresh && x.now.Sub(later(c.since, x.begun)) >= x.policy.Settle
}

func (x *contest) yield(c *contender, router string) change {
	x.take(c, -1)
	c.yielded, c.since = true, x.now
	return change{c, router}
}

func (x *contest) back(c *contender) change {
	x.take(c, 1)
	c.yielded, c.since = false, x.now
	return change{c, ""}
}

// swap lets the quietest routed addresses give way to the busiest translated
// ones, where these carry many times as much: a few at a time.
func (x *contest) swap() (changes []change) {
	most := 1 + len(x.list)/16
	for _, busy := range slices.Backward(x.list) {
		if len(changes) >= 2*most {
			break
		}
		if !busy.yielded || busy.rate <= 0 || !x.settled(busy) || x.fits(busy) {
			continue
		}
		if quiet := x.weaker(busy); quiet != nil {
			changes = append(changes, x.yield(quiet, x.full(busy)), x.back(busy))
		}
	}
	return changes
}

// full names the first of its routers that has no room for it.
func (x *contest) full(c *contender) string {
	for _, r := range c.routers {
		if limit, known := x.limits[r]; known && x.used[r] >= limit {
			return r
		}
	}
	return ""
}

// weaker finds the quietest routed address whose place the busy one may take.
func (x *contest) weaker(busy *contender) *contender {
	for _, c := range x.list {
		if c.rate*float64(x.policy.Ratio) > busy.rate {
			break // so do all that follow
		}
		if c.yielded || !x.settled(c) {
			continue
		}
		x.take(c, -1)
		ok := x.fits(busy)
		x.take(c, 1)
		if ok {
			return c
		}
	}
	return nil
}
