package mgmt

import (
	"fmt"
	"slices"

	"github.com/dpmip/dpmip/mobility"
)

// report adds what an agent counted to the move's record; a later report of the
// same agent in the same role replaces the earlier.
func (c *Core) report(e Report) error {
	m := c.tx.editMove(e.VM, e.Epoch)
	if m == nil {
		return fmt.Errorf("%w: vm %s has no move with epoch %d", ErrUnknown, e.VM, e.Epoch)
	}
	if c.inv.Hypervisors[e.Holder.Hypervisor] == nil {
		return fmt.Errorf("%w: no hypervisor is called %q", ErrUnknown, e.Holder.Hypervisor)
	}
	i := slices.IndexFunc(m.Holders, func(h HolderReport) bool { return h.Hypervisor == e.Holder.Hypervisor && h.Role == e.Holder.Role })
	if i < 0 {
		m.Holders = append(m.Holders, e.Holder)
	} else {
		m.Holders[i] = e.Holder
	}
	return nil
}

func (c *Core) addFigures(e AddFigures) error {
	m := c.tx.move(e.VM, e.Epoch)
	switch {
	case m == nil:
		return fmt.Errorf("%w: vm %s has no move with epoch %d", ErrUnknown, e.VM, e.Epoch)
	case m.Receipt == nil:
		return mobility.Refuse(mobility.StatusProhibited, "the move is %s: there is no receipt yet", m.State)
	}
	f := e.Figures
	c.tx.editMove(e.VM, e.Epoch).Figures = &f
	return nil
}

// keepMoves is how many ended moves of one VM are kept, besides their age.
const keepMoves = 4096

// prune deletes ended moves that are older than the history kept.
func (c *Core) prune(vm mobility.VMID) {
	ended := c.endedMoves(vm)
	for i, m := range ended {
		last := m.Phases[len(m.Phases)-1].At
		if c.now.Sub(last) >= c.inv.Lifetimes.History || len(ended)-i > keepMoves {
			c.tx.deleteMove(moveID{vm, m.Epoch})
		}
	}
}
