package mgmt

import (
	"fmt"
	"io"
	"net/netip"

	"github.com/dpmip/dpmip/mgmt/inventory"
	"github.com/dpmip/dpmip/mobility"
)

// command takes what operators, orchestrators and agents' reports ask.
func (c *Core) command(e Event) {
	switch e := e.(type) {
	case Prepare:
		m, err := c.prepare(e.VM, e.To, e.Options, "")
		c.done(Done{ID: e.ID, Move: m, Err: err})
	case SourceLost:
		m, err := c.sourceLost(e)
		c.done(Done{ID: e.ID, Move: m, Err: err})
	case Abort:
		m, err := c.abortCommand(e)
		c.done(Done{ID: e.ID, Move: m, Err: err})
	case Evacuate:
		c.done(c.evacuate(e))
	case Retire:
		c.done(c.retire(e))
	case Report:
		c.done(Done{ID: e.ID, Err: c.report(e)})
	case AddFigures:
		c.done(Done{ID: e.ID, Err: c.addFigures(e)})
	case NamesReported:
		c.namesReported(e)
	case NamesImpossible:
		c.namesImpossible(e)
	}
}

// done answers a command when what it changed is durable.
func (c *Core) done(d Done) {
	if d.Err != nil {
		d.Move = nil
	}
	c.tx.then = append(c.tx.then, func() { c.emit(d) })
	c.tx.fail = append(c.tx.fail, func(err error) {
		c.emit(Done{ID: d.ID, Err: fmt.Errorf("the store failed: %w", err)})
	})
}

// withDefaults fills options that are not given.
func (c *Core) withDefaults(o mobility.MoveOptions) mobility.MoveOptions {
	d := c.inv.Policy.Defaults
	if o.Mode == 0 {
		o.Mode = d.Mode
	}
	if o.Addresses == 0 {
		o.Addresses = d.Addresses
	}
	if o.Redirect == 0 {
		o.Redirect = d.Redirect
	}
	if o.New == 0 {
		o.New = d.New
		if o.Addresses == mobility.AddressesKeep {
			o.New = mobility.PolicyRedirect
		}
	}
	return o.WithPhase(mobility.PhaseSingle)
}

// prepare begins a move. Asking for the open move again gives it again.
func (c *Core) prepare(vm mobility.VMID, to string, o mobility.MoveOptions, fencedBy string) (*Move, error) {
	b := c.tx.binding(vm)
	if b == nil || b.Hypervisor == "" {
		return nil, fmt.Errorf("%w: nobody serves vm %s", ErrUnknown, vm)
	}
	o = c.withDefaults(o)
	if m := c.tx.move(vm, b.Open); m != nil {
		if m.To == to && m.Options == o && m.State != MoveAborting {
			return m, nil
		}
		return nil, mobility.Refuse(mobility.StatusProhibited, "a move of vm %s to %s is open (%s, epoch %d)", vm, m.To, m.State, m.Epoch)
	}
	if err := c.mayPrepare(b, to, o); err != nil {
		return nil, err
	}
	if err := c.mayProve(b, to, o); err != nil && fencedBy == "" {
		return nil, err
	}
	e := c.tx.edit(vm)
	epoch, err := nextEpoch(e)
	if err != nil {
		return nil, err
	}
	m := &Move{VM: vm, From: b.Hypervisor, To: to, Epoch: epoch, Options: o, State: MovePreparing,
		Deadline: c.now.Add(c.inv.Lifetimes.Prepare), SourceLost: fencedBy != "", FencedBy: fencedBy}
	m.Addrs, m.Current = b.live()
	if _, err := io.ReadFull(c.cfg.Random, m.Ticket[:]); err != nil {
		return nil, fmt.Errorf("mgmt: no random bytes for a ticket: %w", err)
	}
	m.phase(c.now, PhaseAsked, "")
	e.Open = epoch
	c.tx.putMove(m)
	c.emit(Count{"moves", "asked"})
	c.emit(Note{Text: "asked for a move: " + m.From + " -> " + m.To, VM: vm, Peer: to, Epoch: epoch})
	return m, nil
}

// mayPrepare checks a wanted move against policy and against sense.
func (c *Core) mayPrepare(b *Binding, to string, o mobility.MoveOptions) error {
	h := c.inv.Hypervisors[to]
	no := func(format string, args ...any) error {
		return mobility.Refuse(mobility.StatusProhibited, format, args...)
	}
	addrs, _ := b.live()
	switch {
	case h == nil:
		return fmt.Errorf("%w: no hypervisor is called %q", ErrUnknown, to)
	case o.Validate() != nil:
		return no("%v", o.Validate())
	case to == b.Hypervisor:
		return no("vm %s is at %s already", b.VM, to)
	case c.peer(to).Retired:
		return no("hypervisor %s is retired", to)
	case !b.Grace.IsZero():
		return no("vm %s has been deregistered", b.VM)
	case o.Mode == mobility.ModeCold && o.Addresses == mobility.AddressesKeep && o.Redirect == mobility.RedirectTranslated:
		return no("a cold move leaves no redirect: kept addresses would be reached by nobody (want redirect = routed, or addresses = renumber)")
	case o.Redirect == mobility.RedirectRouted && o.Addresses == mobility.AddressesKeep && len(c.inv.Outwards(to)) == 0:
		return no("no router of the inventory leads to %s: kept addresses cannot be routed there", to)
	case o.Mode != mobility.ModeCold && (o.Redirect == mobility.RedirectTranslated || o.New != mobility.PolicyRedirect) && c.orphan(b, to).IsValid():
		return no("%s redirects %s no longer since a cold move: it would be reached by nobody (want redirect = routed, new = redirect)", c.inv.Home(c.orphan(b, to)), c.orphan(b, to))
	case len(addrs) > mobility.MaxOldAddresses:
		return mobility.Refuse(mobility.StatusResources, "vm %s has %d live old addresses, at most %d can move", b.VM, len(addrs), mobility.MaxOldAddresses)
	}
	if err := c.inv.MayMove(b.VM, b.Hypervisor, to); err != nil {
		return err
	}
	if err := c.inv.MayLeave(b.VM, addrs, b.Hypervisor, to); err != nil {
		return err
	}
	return mayHold(b, h, o)
}

// orphan is a slot that its home does not redirect, or nothing. The fabric
// without host routes leads there.
func (c *Core) orphan(b *Binding, to string) netip.Addr {
	for _, s := range b.Slots {
		home := c.inv.Home(s)
		if a := b.anchor(home); home != "" && home != to && home != b.Hypervisor && (a == nil || a.Cold) {
			return s
		}
	}
	return netip.Addr{}
}

// mayHold checks that the destination has pools and ranges of every family.
func mayHold(b *Binding, h *inventory.Hypervisor, o mobility.MoveOptions) error {
	addrs, _ := b.live()
	for _, a := range addrs {
		if a.Is4() && !h.Locator4().IsValid() && !h.HasRange(true) && !h.HasPool(true) {
			return mobility.Refuse(mobility.StatusNoIPv4, "hypervisor %s has no IPv4", h.Name)
		}
		if a.Is4() && o.Redirect == mobility.RedirectRouted && !h.Locator4().IsValid() {
			return mobility.Refuse(mobility.StatusNoIPv4, "hypervisor %s has no IPv4 locator: %s cannot be routed there", h.Name, a)
		}
		if a.Is6() && o.Redirect == mobility.RedirectRouted && h.Locator().Is4() {
			return mobility.Refuse(mobility.StatusProhibited, "hypervisor %s has no IPv6 locator: %s cannot be routed there", h.Name, a)
		}
		if o.Mode != mobility.ModeCold && !h.HasPool(a.Is4()) {
			return mobility.Refuse(mobility.StatusProhibited, "hypervisor %s has no delivery pool for %s", h.Name, a)
		}
	}
	for _, s := range b.Slots {
		if o.Addresses == mobility.AddressesRenumber && !h.HasRange(s.Is4()) {
			return mobility.Refuse(mobility.StatusProhibited, "hypervisor %s has no range for a new address in place of %s", h.Name, s)
		}
	}
	return nil
}

// sourceLost makes a move go without its source: the operator says that it is
// fenced, so that it cannot run the VM any more. Kept addresses must be routed:
// nobody is left to translate them.
func (c *Core) sourceLost(e SourceLost) (*Move, error) {
	if e.FencedBy == "" {
		return nil, mobility.Refuse(mobility.StatusProhibited, "say who has fenced the source: a source that still runs the VM must not be ignored")
	}
	b := c.tx.binding(e.VM)
	if b == nil {
		return nil, fmt.Errorf("%w: vm %s", ErrUnknown, e.VM)
	}
	if open := c.tx.move(e.VM, b.Open); open != nil {
		if open.To != e.To || open.State == MoveAborting {
			return nil, mobility.Refuse(mobility.StatusProhibited, "a move of vm %s to %s is open (%s): abort it first", e.VM, open.To, open.State)
		}
		m := c.tx.editMove(e.VM, b.Open)
		m.SourceLost, m.FencedBy = true, e.FencedBy
		if m.DestinationReady && m.State == MovePreparing {
			c.planProofs(m) // the source is no longer asked
		}
		c.maybeReady(m)
		return m, nil
	}
	o := c.withDefaults(mobility.MoveOptions{})
	if len(c.inv.Outwards(e.To)) > 0 {
		o.Redirect = mobility.RedirectRouted
	}
	return c.prepare(e.VM, e.To, o, e.FencedBy)
}

func (c *Core) abortCommand(e Abort) (*Move, error) {
	b := c.tx.binding(e.VM)
	if b == nil || b.Open == 0 || e.Epoch != 0 && e.Epoch != b.Open {
		if b != nil && c.tx.move(e.VM, max(e.Epoch, b.Last)) != nil {
			return nil, mobility.Refuse(mobility.StatusProhibited, "the move of vm %s has committed or ended: a move back is a move", e.VM)
		}
		return nil, fmt.Errorf("%w: no move of vm %s is open", ErrUnknown, e.VM)
	}
	m := c.tx.editMove(e.VM, b.Open)
	c.abort(m, "the operator asked for it")
	if e.DestinationFencedBy != "" {
		c.withoutDestination(c.tx.edit(e.VM), m, e.DestinationFencedBy)
	}
	return m, nil
}

// retire takes a hypervisor out of service, or says what still depends on it.
func (c *Core) retire(e Retire) Done {
	d := Done{ID: e.ID}
	if c.inv.Hypervisors[e.Hypervisor] == nil {
		d.Err = fmt.Errorf("%w: no hypervisor is called %q", ErrUnknown, e.Hypervisor)
		return d
	}
	d.Depends = c.dependsOn(e.Hypervisor)
	if len(d.Depends) == 0 && !e.DryRun {
		p := *c.peer(e.Hypervisor)
		p.Retired = true
		c.putPeer(&p)
		d.Retired = true
	}
	return d
}

// dependsOn says, for people, what would break without the hypervisor.
func (c *Core) dependsOn(name string) []string {
	var list []string
	for _, b := range c.sorted() {
		say := func(format string, args ...any) {
			list = append(list, fmt.Sprintf("%s: ", b.VM)+fmt.Sprintf(format, args...))
		}
		if b.Hypervisor == name {
			say("runs there")
		}
		if a := b.anchor(name); a != nil {
			say("it redirects %s", joinAddrs(a.Addrs))
		}
		for _, s := range b.Slots {
			if b.Hypervisor != name && c.inv.Home(s) == name {
				say("%s is at home there", s)
			}
		}
		if m := c.moves[moveID{b.VM, b.Open}]; b.Open != 0 && m != nil && (m.To == name || m.From == name) {
			say("a move %s -> %s is open", m.From, m.To)
		}
	}
	return list
}
