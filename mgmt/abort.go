package mgmt

import (
	"net/netip"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
)

// abort begins the abort sequence: first the destination, which may have
// activated already; then the source; then the destination gives back.
func (c *Core) abort(m *Move, why string) {
	if m.State == MoveAborting || !m.State.before() {
		return
	}
	c.dropProofs(m, "the move was aborted before")
	m.State, m.Abort, m.Error = MoveAborting, AbortStop, why
	m.phase(c.now, PhaseAbortAsked, why)
	c.emit(Note{Text: "aborting: " + why, VM: m.VM, Peer: m.To, Epoch: m.Epoch})
}

// withoutDestination goes on with an abort whose destination is fenced: it can
// neither activate nor give back, so only the source is still to be told.
func (c *Core) withoutDestination(b *Binding, m *Move, who string) {
	if m.DestinationFencedBy != who { // asked again
		m.DestinationFencedBy = who
		m.phase(c.now, PhaseDestinationFenced, who)
		c.emit(Note{Warning: true, Text: "the abort goes on without the destination, fenced by " + who, VM: m.VM, Peer: m.To, Epoch: m.Epoch})
	}
	switch {
	case m.Abort == AbortStop && m.SourceTold:
		m.Abort = AbortDisarm
	case m.Abort != AbortDisarm:
		c.endFenced(b, m)
	}
}

// endFenced ends a move whose destination has given nothing back. Stragglers
// may still come for its delivery addresses.
func (c *Core) endFenced(b *Binding, m *Move) {
	until := c.now.Add(c.inv.Lifetimes.Quarantine)
	for _, d := range m.Deliveries {
		b.unquarantine([]netip.Addr{d.D}) // of an earlier try
		b.quarantine(d.D, until)
	}
	c.endMove(b, m, m.Error)
}

// endMove ends a move that has not committed.
func (c *Core) endMove(b *Binding, m *Move, why string) {
	m.State = MoveAborted
	if m.Error == "" {
		m.Error = why
	}
	m.phase(c.now, PhaseAborted, why)
	b.Open = 0
	c.advance(b)
	c.emit(Count{"moves", "aborted"})
	c.emit(Note{Warning: true, Text: "aborted: " + m.Error, VM: m.VM, Peer: m.To, Epoch: m.Epoch})
}

// aborted takes the answer to a step of the abort sequence. A peer that does
// not know the VM has nothing to take back.
func (c *Core) aborted(f *flight, b *Binding, m *Move, r registration.Reply) {
	step, kind := m.Abort, f.owed.key.kind
	done := r.Status.Accepted() || r.Status == mobility.StatusNotVMForThisNode
	switch {
	case kind == abortStop && step == AbortStop && r.Status == mobility.StatusProhibited && r.Epoch <= m.Epoch:
		m.State, m.Abort, m.Deadline = MoveReady, 0, noTime
		m.Error = "not aborted: the destination has activated"
		m.phase(c.now, PhaseAbortRefused, "the destination has activated")
	case !done && !(kind == abortStop && r.Status == mobility.StatusProhibited):
		c.again(f, r)
	case kind == abortStop && step == AbortStop:
		m.Abort = AbortGiveBack
		if m.SourceTold {
			m.Abort = AbortDisarm
		}
		m.phase(c.now, PhaseDestinationStopped, "")
	case kind == abortDisarm && step == AbortDisarm:
		m.phase(c.now, PhaseSourceDisarmed, "")
		if m.DestinationFencedBy != "" {
			c.endFenced(b, m)
			return
		}
		m.Abort = AbortGiveBack
	case kind == abortGiveBack && step == AbortGiveBack:
		c.endMove(b, m, m.Error)
	}
}
