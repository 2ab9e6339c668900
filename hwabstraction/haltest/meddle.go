package haltest

import (
	"slices"

	"github.com/dpmip/dpmip/hwabstraction"
)

// What a test does to a Chaos besides using it as a Device. All of it works on
// the card, so also on a device that is closed.

// Inject adds a scripted fault. Its Apply counts from the next call on.
func (d *Chaos) Inject(f Fault) {
	d.on(func(c *card) {
		if f.Apply > 0 {
			f.Apply += c.calls
		}
		c.plan.Faults = append(c.plan.Faults, f)
	})
}

// Calm ends all faults, scripted and by chance.
func (d *Chaos) Calm() {
	d.on(func(c *card) { c.plan.Faults, c.plan.Chance, c.plan.Lose = nil, 0, 0 })
}

// SetMaxRules changes the size of the table; rules beyond it stay.
func (d *Chaos) SetMaxRules(n int) { d.on(func(c *card) { c.plan.MaxRules = n }) }

// RemovePort takes a port away with the rules that need it, as the kernel does.
// The Plan must have named its ports.
func (d *Chaos) RemovePort(name string) {
	d.on(func(c *card) {
		delete(c.ports, name)
		for _, id := range c.ids() {
			if port(c.rules[id].rule) == name {
				c.erase(id)
			}
		}
	})
}

// AddPort makes a port be, without rules.
func (d *Chaos) AddPort(name string) {
	d.on(func(c *card) {
		if c.ports != nil {
			c.ports[name] = true
		}
	})
}

// Vanish deletes rules behind the caller's back, whoever owns them.
func (d *Chaos) Vanish(ids ...hwabstraction.RuleID) {
	d.on(func(c *card) {
		for _, id := range ids {
			c.erase(id)
		}
	})
}

// Foreign writes a rule behind the caller's back, over whatever is there.
func (d *Chaos) Foreign(r hwabstraction.Rule) {
	d.on(func(c *card) {
		c.erase(r.ID())
		c.link(r)
		c.rules[r.ID()] = &entry{rule: r, placement: usual(r), filled: c.plan.Now()}
	})
}

// Place moves a rule to another placement, as a device under pressure does.
func (d *Chaos) Place(id hwabstraction.RuleID, p hwabstraction.Placement) {
	d.on(func(c *card) {
		if e := c.rules[id]; e != nil {
			e.placement = p
		}
	})
}

// Applied lists the changes that were carried out, in the order they were,
// since the last call.
func (d *Chaos) Applied() (log []hwabstraction.Change) {
	d.on(func(c *card) { log, c.log = slices.Clone(c.log), nil })
	return log
}

// Calls is how often Apply was called.
func (d *Chaos) Calls() (n int) {
	d.on(func(c *card) { n = c.calls })
	return n
}

func (d *Chaos) on(f func(*card)) {
	d.card.mu.Lock()
	defer d.card.mu.Unlock()
	f(d.card)
}
