package haltest

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/dpmip/dpmip/hwabstraction"
)

// card is the hardware of a Chaos: what outlives the device and the process.
type card struct {
	mu     sync.Mutex // guards everything below
	plan   Plan
	rng    *rand.Rand
	ports  map[string]bool // nil: any
	rules  map[hwabstraction.RuleID]*entry
	groups map[hwabstraction.Stamp]*group
	limits map[hwabstraction.Stamp]hwabstraction.HoldLimit
	drops  hwabstraction.Drops
	calls  int // of Apply
	log    []hwabstraction.Change
	trap   chan hwabstraction.Trapped // of the device that is open

	out    map[string][][]byte   // frames that left, by port
	egress map[string]int        // Egress rules, by port
	seen   map[tuple]bool        // flows that VMs had part in, as conntrack would know them
	frags  map[fragment]decision // verdicts for later fragments
	begun  map[fragment]decision // datagrams whose first fragment was delivered
}

// entry is one rule in the table.
type entry struct {
	rule      hwabstraction.Rule
	placement hwabstraction.Placement
	counter   hwabstraction.Counter
	tokens    float64   // Trap
	filled    time.Time // Trap
}

// group is the switch of one stamp.
type group struct {
	hwabstraction.GroupStatus
	rules int
	held  []held
	bytes int // of held
	flows map[tuple]bool
}

// held is one packet that a Deliver keeps.
type held struct {
	by     hwabstraction.RuleID
	packet []byte
	at     time.Time
}

func newCard(p Plan) *card {
	c := &card{
		plan: p, rng: rand.New(rand.NewPCG(p.Seed, 0xd9b4)),
		rules:  map[hwabstraction.RuleID]*entry{},
		groups: map[hwabstraction.Stamp]*group{},
		limits: map[hwabstraction.Stamp]hwabstraction.HoldLimit{},
		drops:  hwabstraction.Drops{}, out: map[string][][]byte{}, egress: map[string]int{},
		seen: map[tuple]bool{}, frags: map[fragment]decision{}, begun: map[fragment]decision{},
	}
	if p.Ports != nil {
		c.ports = map[string]bool{}
		for _, name := range p.Ports {
			c.ports[name] = true
		}
	}
	if c.plan.Now == nil {
		c.plan.Now = time.Now
	}
	if c.plan.Pause == nil {
		c.plan.Pause = wait
	}
	return c
}

func (c *card) hasPort(name string) bool { return c.ports == nil || c.ports[name] }

// grouped tells whether a rule belongs to a group.
func grouped(r hwabstraction.Rule) bool {
	k := r.ID().Kind
	return k == hwabstraction.KindRedirect || k == hwabstraction.KindDeliver
}

// port is the port a rule needs, "" where it needs none.
func port(r hwabstraction.Rule) string {
	switch r := r.(type) {
	case hwabstraction.HostRoute:
		return r.Port
	case hwabstraction.Deliver:
		return r.Port
	case hwabstraction.Egress:
		return r.Port
	}
	return ""
}

// usual is where a rule sits when nothing is forced.
func usual(r hwabstraction.Rule) hwabstraction.Placement {
	switch r.ID().Kind {
	case hwabstraction.KindHostRoute, hwabstraction.KindUnreachable:
		return hwabstraction.PlacementKernelRoute
	}
	return hwabstraction.PlacementEBPF
}

// put writes one rule.
func (c *card) put(r hwabstraction.Rule, at hwabstraction.Placement) (hwabstraction.Placement, error) {
	if err := r.Validate(); err != nil {
		return 0, err
	}
	if p := port(r); p != "" && !c.hasPort(p) {
		return 0, hwabstraction.ErrPortGone
	}
	if at == hwabstraction.PlacementNone {
		at = usual(r)
	}
	old := c.rules[r.ID()]
	switch {
	case old == nil && c.plan.MaxRules > 0 && len(c.rules) >= c.plan.MaxRules:
		return 0, hwabstraction.ErrTableFull
	case old != nil && r.Stamped().Epoch < old.rule.Stamped().Epoch:
		return 0, hwabstraction.ErrStale
	case old != nil && old.rule == r:
		old.placement = at
		return at, nil
	}
	e := &entry{rule: r, placement: at, filled: c.plan.Now()}
	c.link(r)
	if old != nil {
		e.counter = old.counter
		c.unlink(old.rule)
	}
	c.rules[r.ID()] = e
	return at, nil
}

// link enters a rule in its group, or opens its port.
func (c *card) link(r hwabstraction.Rule) {
	switch {
	case grouped(r):
		st := r.Stamped()
		if c.groups[st] == nil {
			c.groups[st] = &group{GroupStatus: hwabstraction.GroupStatus{Stamp: st}, flows: map[tuple]bool{}}
		}
		c.groups[st].rules++
	case r.ID().Kind == hwabstraction.KindEgress:
		c.egress[port(r)]++
	}
}

func (c *card) unlink(r hwabstraction.Rule) {
	switch {
	case grouped(r):
		g := c.groups[r.Stamped()]
		if g.rules--; g.rules == 0 {
			c.drops["hold_ended"] += uint64(len(g.held))
			delete(c.groups, r.Stamped())
			delete(c.limits, r.Stamped())
		}
	case r.ID().Kind == hwabstraction.KindEgress:
		c.egress[port(r)]--
	}
}

// remove deletes what the stamp's owner holds at or below its epoch.
func (c *card) remove(id hwabstraction.RuleID, s hwabstraction.Stamp) {
	e := c.rules[id]
	if e == nil {
		return
	}
	if has := e.rule.Stamped(); has.Owner == s.Owner && has.Epoch <= s.Epoch {
		c.erase(id)
	}
}

func (c *card) erase(id hwabstraction.RuleID) {
	if e := c.rules[id]; e != nil {
		delete(c.rules, id)
		c.unlink(e.rule)
	}
}

// lose deletes n rules, chosen by the seed.
func (c *card) lose(n int) {
	ids := c.ids()
	for ; n > 0 && len(ids) > 0; n-- {
		i := c.rng.IntN(len(ids))
		c.erase(ids[i])
		ids = slices.Delete(ids, i, i+1)
	}
}

// ids are the rules' names in an order that depends on nothing but them.
func (c *card) ids() []hwabstraction.RuleID {
	ids := make([]hwabstraction.RuleID, 0, len(c.rules))
	for id := range c.rules {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, compareIDs)
	return ids
}

func compareIDs(a, b hwabstraction.RuleID) int {
	return cmp.Or(
		cmp.Compare(a.Kind, b.Kind), a.Prefix.Addr().Compare(b.Prefix.Addr()),
		cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()), cmp.Compare(a.Port, b.Port),
		cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.DstPort, b.DstPort),
	)
}

// on tells whether a rule acts.
func (c *card) on(r hwabstraction.Rule) bool {
	g := c.groups[r.Stamped()]
	switch r.ID().Kind {
	case hwabstraction.KindRedirect:
		return g.Armed
	case hwabstraction.KindDeliver:
		return g.Active
	}
	return true
}

// limit is the hold bound of a stamp, defaults filled in.
func (c *card) limit(s hwabstraction.Stamp) hwabstraction.HoldLimit {
	l := c.limits[s]
	return hwabstraction.HoldLimit{
		Packets: cmp.Or(l.Packets, 4096), Bytes: cmp.Or(l.Bytes, 8<<20), Time: cmp.Or(l.Time, 10*time.Second),
	}
}
