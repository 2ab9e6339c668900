package mgmt

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/dpmip/dpmip/mobility"
)

// evacuate prepares a move of every VM of a hypervisor, each to the destination
// that has least to do at its turn.
func (c *Core) evacuate(e Evacuate) Done {
	d := Done{ID: e.ID}
	if c.inv.Hypervisors[e.Hypervisor] == nil {
		d.Err = fmt.Errorf("%w: no hypervisor is called %q", ErrUnknown, e.Hypervisor)
		return d
	}
	to := slices.Clone(e.To)
	if len(to) == 0 {
		for _, name := range sortedKeys(c.inv.Hypervisors) {
			if name != e.Hypervisor && !c.peer(name).Retired {
				to = append(to, name)
			}
		}
	}
	if len(to) == 0 {
		d.Err = mobility.Refuse(mobility.StatusProhibited, "there is nowhere to go from %s", e.Hypervisor)
		return d
	}
	load := c.load()
	for _, vm := range c.servedBy(e.Hypervisor) {
		slices.SortFunc(to, func(a, b string) int { return cmp.Or(cmp.Compare(load[a], load[b]), cmp.Compare(a, b)) })
		counted := c.tx.binding(vm).Open != 0
		m, err := c.prepareAnywhere(vm, to, e.Options)
		if err != nil {
			d.Problems = append(d.Problems, fmt.Sprintf("%s: %v", vm, err))
			continue
		}
		if !counted {
			load[m.To]++
		}
		d.Moves = append(d.Moves, m)
	}
	return d
}

// load counts the VMs of each hypervisor: those that it serves, and those that
// are on their way to it.
func (c *Core) load() map[string]int {
	load := map[string]int{}
	for name, vms := range c.byHost {
		load[name] = len(vms)
	}
	for _, b := range c.bindings {
		if m := c.moves[moveID{b.VM, b.Open}]; b.Open != 0 && m != nil && m.State != MoveAborting {
			load[m.To]++
		}
	}
	return load
}

// prepareAnywhere prepares a move to the first destination that may have it.
func (c *Core) prepareAnywhere(vm mobility.VMID, to []string, o mobility.MoveOptions) (m *Move, err error) {
	for _, name := range to {
		if m, err = c.prepare(vm, name, o, ""); err == nil {
			return m, nil
		}
	}
	return nil, err
}
