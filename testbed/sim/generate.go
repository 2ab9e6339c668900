package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Generate makes the schedule of a seed.
func Generate(seed uint64) *Schedule {
	g := generator{rng: rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15)), s: &Schedule{Seed: seed, Watched: seed%4 == 3, Skew: map[string]time.Duration{}, Room: map[string]int{}}}
	g.site()
	g.at = 200 * time.Millisecond
	for _, v := range g.s.Guests {
		g.add("attach %s", v.Name)
		g.at += g.between(0, 50*time.Millisecond)
	}
	g.at += time.Second
	for range 2 + g.rng.IntN(7) {
		g.operation()
	}
	g.rooms()
	sortOps(g.s.Ops)
	return g.s
}

type generator struct {
	rng  *rand.Rand
	s    *Schedule
	at   time.Duration
	rare bool // reboots and old backups happen
	calm bool // no faults
}

func (g *generator) between(least, most time.Duration) time.Duration {
	return (least + time.Duration(g.rng.Int64N(int64(most-least)+1))).Round(time.Millisecond)
}

func (g *generator) chance(percent int) bool { return g.rng.IntN(100) < percent }

func pick[T any](g *generator, list ...T) T { return list[g.rng.IntN(len(list))] }

func (g *generator) add(format string, args ...any) { g.addAt(g.at, format, args...) }

func (g *generator) addAt(at time.Duration, format string, args ...any) {
	var s Schedule
	if err := s.line(splitLine(fmt.Sprintf("%v ", at.Round(time.Millisecond)) + fmt.Sprintf(format, args...))); err == nil {
		g.s.Ops = append(g.s.Ops, s.Ops...)
	}
}

// site draws what the whole history has in common.
func (g *generator) site() {
	g.calm, g.rare = g.chance(10), g.chance(25)
	if !g.calm && g.chance(70) {
		g.s.Noise = Noise{Loss: g.rng.IntN(20), Repeat: g.rng.IntN(10), Slow: g.rng.IntN(8)}
	}
	if g.chance(30) {
		for _, n := range append(append([]string{}, hypervisorNames...), routerNames...) {
			if g.chance(50) {
				g.s.Skew[n] = g.between(0, 40*time.Second) - 20*time.Second
			}
		}
	}
	for i := range 1 + g.rng.IntN(3) {
		v6 := g.chance(75)
		g.s.Guests = append(g.s.Guests, GuestSpec{fmt.Sprintf("vm%d", i+1), pick(g, hypervisorNames...), v6, !v6 || g.chance(25)})
	}
}

// rooms makes some routers small. It is drawn last: the rest of a seed's history
// does not depend on it.
func (g *generator) rooms() {
	cold := func(o Op) bool { return o.Verb == "move" && slices.Contains(o.Args, "cold") }
	if !g.chance(25) || slices.ContainsFunc(g.s.Ops, cold) { // nothing but routes leads to a VM after a cold move
		return
	}
	for _, r := range routerNames {
		if g.chance(40) {
			g.s.Room[r] = 1 + g.rng.IntN(3)
		}
	}
	g.s.Mute = len(g.s.Room) > 0 && g.chance(30)
}

// operation is one thing that operators do, the faults around it, and the time
// until the next.
func (g *generator) operation() {
	vm := g.s.Guests[g.rng.IntN(len(g.s.Guests))].Name
	switch n := g.rng.IntN(100); {
	case n < 70:
		g.move(vm)
	case n < 78:
		g.add("evacuate %s %s %s", pick(g, hypervisorNames...), pick(g, "keep", "renumber"), pick(g, "routed", "translated"))
	case n < 86:
		g.add("detach %s", vm)
		g.addAt(g.at+g.between(100*time.Millisecond, 20*time.Second), "attach %s", vm)
	case n < 91:
		g.add("lost %s %s", vm, pick(g, hypervisorNames...))
	default:
		g.add("abort %s", vm)
	}
	if !g.calm {
		for range g.rng.IntN(4) {
			g.fault()
		}
	}
	switch n := g.rng.IntN(10); {
	case n < 4:
		g.at += g.between(time.Millisecond, time.Second)
	case n < 8:
		g.at += g.between(time.Second, 10*time.Second)
	default:
		g.at += g.between(30*time.Second, 3*time.Minute) // drain
	}
}

func (g *generator) move(vm string) {
	mode := pick(g, "hot", "hot", "hot", "hot", "hot", "warm", "cold")
	addresses := pick(g, "keep", "keep", "renumber")
	redirect := pick(g, "routed", "translated")
	policy := "redirect"
	if addresses == "renumber" {
		policy = pick(g, "redirect", "drop", "reject")
	}
	if mode == "cold" && addresses == "keep" {
		redirect = "routed"
	}
	stop := pick(g, "all", "all", "all", "all", "all", "all", "ready", "switched")
	g.add("move %s %s %s %s %s %s %v %s", vm, pick(g, hypervisorNames...), mode, addresses, redirect, policy,
		g.between(0, 200*time.Millisecond), stop)
	if g.chance(15) {
		g.addAt(g.at+g.between(0, 500*time.Millisecond), "abort %s", vm)
	}
}

// fault is one fault soon after the operation.
func (g *generator) fault() {
	at := g.at + g.between(0, 600*time.Millisecond)
	nodes := append(append([]string{managementName, managementName, managementName}, hypervisorNames...), hypervisorNames...)
	node := pick(g, append(nodes, routerNames...)...)
	down := pick(g, g.between(time.Millisecond, 200*time.Millisecond), g.between(time.Second, 40*time.Second))
	verb := "kill"
	if g.rare && node != managementName && g.chance(40) {
		verb = "reboot"
	}
	switch n := g.rng.IntN(100); {
	case n < 60:
		g.addAt(at, "%s %s %d %v", verb, node, g.rng.IntN(12), down)
	case n < 78:
		if other := pick(g, append(nodes, routerNames...)...); other != node {
			g.addAt(at, "cut %s %s %v", managementName, other, down)
		}
	case n < 83:
		g.addAt(at, "storefail %v", g.between(time.Millisecond, 5*time.Second))
	case n < 88:
		g.addAt(at, "devfail %s %d", pick(g, hypervisorNames...), 1+g.rng.IntN(3))
	case n < 92:
		g.addAt(at, "tablefull %s %v", pick(g, hypervisorNames...), g.between(100*time.Millisecond, 20*time.Second))
	case g.rare:
		g.addAt(at-g.between(0, at), "backup")
		g.addAt(at, "restore %v", down)
	}
}
