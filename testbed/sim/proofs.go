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
	owner *process
	can   []string
	take  func(mgmt.Task) // begins a task
	open  [2]int          // lives of management node and node that are connected
	tasks map[probe.Token]mgmt.Task
}

// probeEvery is how often a probe is sent, and a kernel looked at, again.
const probeEvery = 40 * time.Millisecond

// connect is how a node that has started, or finds a management node that has,
// comes to take tasks.
func (x *prover) connect() {
	w := x.owner.w
	x.owner.later(w.between(time.Millisecond, 300*time.Millisecond), func() {
		m := w.mgmt
		now := [2]int{m.life, x.owner.life}
		if !m.alive || x.open == now {
			return
		}
		x.open, x.tasks = now, map[probe.Token]mgmt.Task{}
		m.step(mgmt.ProverUp{Node: x.owner.name, Can: x.can})
	})
}

// connected reports whether tasks and reports get through.
func (x *prover) connected() bool {
	m := x.owner.w.mgmt
	return x.owner.alive && m.alive && x.open == [2]int{m.life, x.owner.life}
}

// hungUp is what the management node notices when a node has died.
func (x *prover) hungUp() {
	m, life := x.owner.w.mgmt, x.owner.life
	m.later(m.w.between(100*time.Microsecond, 5*time.Millisecond), func() {
		if x.owner.life == life || !x.connected() {
			m.step(mgmt.ProverDown{Node: x.owner.name})
		}
	})
}

// prover is that of a node, or nil.
func (w *World) prover(name string) *prover {
	if h := w.hypervisors[name]; h != nil {
		return &h.proofs
	}
	if r := w.routers[name]; r != nil && w.watched {
		return &r.proofs
	}
	return nil
}

// prove takes a task to its node.
func (m *management) prove(e mgmt.Prove) {
	x := m.w.prover(e.To)
	if x == nil || !x.connected() {
		return
	}
	x.owner.later(m.w.between(100*time.Microsecond, 2*time.Millisecond), func() {
		switch t := e.Task; {
		case !x.connected():
		case t.Action == mgmt.TaskCancel:
			delete(x.tasks, t.Token)
		default:
			x.tasks[t.Token] = t
			x.take(t)
		}
	})
}

// begin is what a hypervisor does for a task at once.
func (h *hypervisor) begin(t mgmt.Task) {
	if t.Action == mgmt.TaskSend {
		h.probe(t.Token)
	}
}

// look waits until a router's kernel has the host route of a task, or has not.
func (r *host) look(task mgmt.Task) {
	t, asked := r.proofs.tasks[task.Token]
	if !asked || !r.proofs.connected() {
		return
	}
	if _, has := r.kernel[t.Destination]; has != (t.Action == mgmt.TaskInstalled) {
		r.later(probeEvery, func() { r.look(t) })
		return
	}
	r.later(r.w.between(200*time.Microsecond, 2*time.Millisecond), func() {
		if r.proofs.connected() {
			r.w.mgmt.step(mgmt.ProofReport{Node: r.name, Token: t.Token, Seen: true})
		}
	})
}

// probe sends until the task ends. What a probe comes to is what the fabric does
// with a packet to that address at that moment.
func (h *hypervisor) probe(t probe.Token) {
	task, asked := h.proofs.tasks[t]
	if !asked || !h.proofs.connected() {
		return
	}
	for _, name := range hypervisorNames {
		c := h.w.hypervisors[name]
		if want, catches := c.proofs.tasks[t]; catches && c != h && want.Action == mgmt.TaskCatch && c.proofs.connected() && h.reaches(c, task) {
			c.later(h.w.between(200*time.Microsecond, 2*time.Millisecond), func() {
				if c.proofs.connected() {
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
