package sim

import (
	"slices"
	"time"

	"github.com/dpmip/dpmip/internal/probe"
	"github.com/dpmip/dpmip/mgmt"
)

// prover is a node's part in proofs: what the management node's present process
// has asked its present process for. Reports and tasks travel by a connection,
// which loses nothing while both live.
type prover struct {
	open  [2]int // lives of management node and node that are connected
	tasks map[probe.Token]mgmt.Task
}

// probeEvery is how often a probe is sent again.
const probeEvery = 40 * time.Millisecond

// connect is how a node that has started, or finds a management node that has,
// comes to take tasks.
func (h *hypervisor) connect() {
	h.later(h.w.between(time.Millisecond, 300*time.Millisecond), func() {
		m := h.w.mgmt
		now := [2]int{m.life, h.life}
		if !m.alive || h.proofs.open == now {
			return
		}
		h.proofs = prover{open: now, tasks: map[probe.Token]mgmt.Task{}}
		m.step(mgmt.ProverUp{Node: h.name, Can: []string{"send", "catch"}})
	})
}

// connected reports whether tasks and reports get through.
func (h *hypervisor) connected() bool {
	return h.alive && h.w.mgmt.alive && h.proofs.open == [2]int{h.w.mgmt.life, h.life}
}

// hungUp is what the management node notices when a node has died.
func (h *hypervisor) hungUp() {
	m, life := h.w.mgmt, h.life
	m.later(h.w.between(100*time.Microsecond, 5*time.Millisecond), func() {
		if h.life == life || !h.connected() {
			m.step(mgmt.ProverDown{Node: h.name})
		}
	})
}

// prove takes a task to its node.
func (m *management) prove(e mgmt.Prove) {
	h := m.w.hypervisors[e.To]
	if h == nil || !h.connected() {
		return
	}
	h.later(m.w.between(100*time.Microsecond, 2*time.Millisecond), func() {
		switch t := e.Task; {
		case !h.connected():
		case t.Action == mgmt.TaskCancel:
			delete(h.proofs.tasks, t.Token)
		default:
			h.proofs.tasks[t.Token] = t
			if t.Action == mgmt.TaskSend {
				h.probe(t.Token)
			}
		}
	})
}

// probe sends until the task ends. What a probe comes to is what the fabric does
// with a packet to that address at that moment.
func (h *hypervisor) probe(t probe.Token) {
	task, asked := h.proofs.tasks[t]
	if !asked || !h.connected() {
		return
	}
	for _, name := range hypervisorNames {
		c := h.w.hypervisors[name]
		if want, catches := c.proofs.tasks[t]; catches && c != h && want.Action == mgmt.TaskCatch && c.connected() && h.reaches(c, task) {
			c.later(h.w.between(200*time.Microsecond, 2*time.Millisecond), func() {
				if c.connected() {
					h.w.mgmt.step(mgmt.ProofReport{Node: c.name, Token: t, Seen: true, Source: task.Source})
				}
			})
		}
	}
	h.later(probeEvery, func() { h.probe(t) })
}

// reaches follows a probe to the one who is to catch it.
func (h *hypervisor) reaches(c *hypervisor, t mgmt.Task) bool {
	if h.w.sabotage.falseProof {
		return true
	}
	if t.Destination == locator(c.name) || t.Destination == locator4(c.name) {
		return !h.dark && !c.dark
	}
	out := newFabric(h.w).Walk(h.name, t.Destination)
	return out.At == c.name && (out.Fate == Delivered || out.Fate == Held)
}

// checkProofs: a move is ready only when everything that was asked was seen. (An
// abort gives proofs up; where it comes too late, the destination has activated.)
func (w *World) checkProofs(m *mgmt.Move) {
	refused := func(p mgmt.Phase) bool { return p.Name == mgmt.PhaseAbortRefused }
	if m.State != mgmt.MoveReady || slices.ContainsFunc(m.Phases, refused) {
		return
	}
	if i := slices.IndexFunc(m.Proofs, func(p mgmt.Proof) bool { return p.State != mgmt.ProofSeen && p.State != mgmt.ProofNotAsked }); i >= 0 {
		w.violate("the move of %s to %s is ready without the proof %s", m.VM, m.To, m.Proofs[i].String())
	}
}
