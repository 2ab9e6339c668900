package mgmt

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/dpmip/dpmip/internal/probe"
)

// TaskAction is what a node is to do for a proof. The zero value is invalid.
type TaskAction uint8

// Actions.
const (
	TaskSend      TaskAction = iota + 1 // send probes until cancelled
	TaskCatch                           // report a probe to Destination
	TaskInstalled                       // report that the kernel has the host route of Destination
	TaskAbsent                          // report that it has not
	TaskCancel                          // end what the token names
)

// routeTask is how long a task about routes lasts: it is given again.
const routeTask = time.Hour

func (a TaskAction) String() string {
	return [...]string{"invalid", "send", "catch", "installed", "absent", "cancel"}[min(a, TaskCancel)]
}

// Task is one node's part of a proof.
type Task struct {
	Token       probe.Token
	Action      TaskAction
	Source      netip.Addr // TaskSend; invalid = as the kernel takes it
	Destination netip.Addr
	Lasts       time.Duration // it ends by itself then
}

// Prove asks for a Task to be given to a node. It may be lost: the deadline of
// the proof decides.
type Prove struct {
	To   string
	Task Task
}

func (Prove) effect() {}

// ProverUp: a node takes tasks. Can names what it can be asked: the words of
// TaskAction.
type ProverUp struct {
	Node string
	Can  []string
}

// ProverDown: a node takes no tasks any more.
type ProverDown struct{ Node string }

// ProofReport is a node's answer to a task.
type ProofReport struct {
	Node   string
	Token  probe.Token
	Seen   bool       // else it could not be done: Detail
	Source netip.Addr // of the packet that was caught
	Detail string
}

func (ProverUp) event()    {}
func (ProverDown) event()  {}
func (ProofReport) event() {}

// asked is a proof under way. It may be forgotten: then its move is prepared
// again.
type asked struct {
	move   moveID
	key    proofKey
	source netip.Addr // of the packet, where it matters
	tasks  []Prove    // given out so far
}

// whyNot says why a node cannot be asked for an action; "" = it can.
func (c *Core) whyNot(node string, a TaskAction) string {
	can, up := c.provers[node]
	switch {
	case !up:
		return node + " has no admin channel to be asked by"
	case !slices.Contains(can, a.String()):
		if a == TaskInstalled || a == TaskAbsent {
			return node + " cannot say which routes it has"
		}
		return node + " cannot " + a.String() + " probes"
	}
	return ""
}

// MayAsk reports whether the node can be asked about host routes now.
func (c *Core) MayAsk(node string) bool {
	return c.whyNot(node, TaskInstalled) == "" && c.whyNot(node, TaskAbsent) == ""
}

// give hands out a task of a proof, now and again whenever its node comes back.
// It is taken back with the record that asks for it.
func (c *Core) give(a *asked, to string, t Task) {
	p, before := Prove{to, t}, a.tasks
	a.tasks = append(slices.Clip(a.tasks), p)
	c.tx.undo = append(c.tx.undo, func() {
		a.tasks = before
		c.endTask(t.Token, to)
	})
	if _, up := c.provers[to]; up {
		c.emit(p)
	}
}

func (c *Core) proverUp(e ProverUp) {
	c.provers[e.Node] = e.Can
	for _, t := range c.askedTokens() {
		for _, p := range c.asked[t].tasks {
			if p.To == e.Node {
				c.emit(p)
			}
		}
	}
}

// proverDown: what nobody insists on is not waited for.
func (c *Core) proverDown(e ProverDown) {
	delete(c.provers, e.Node)
	c.insist(func() { c.withoutProver(e.Node) })
}

func (c *Core) withoutProver(node string) {
	if _, up := c.provers[node]; up {
		return
	}
	for _, t := range c.askedTokens() {
		a := c.asked[t]
		if a == nil || a.key.from != node && a.key.to != node {
			continue
		}
		m := c.tx.editMove(a.move.vm, a.move.epoch)
		if p := m.openProof(a.key); p != nil && !p.Required && !p.Kind.after() {
			c.endProof(t, p, ProofNotAsked, node+" has lost its admin channel")
			c.maybeReady(m)
		}
	}
}

// noteAsked notes a new proof under its token. Where the record that lists it is
// taken back, so is this: what nobody lists nobody waits for.
func (c *Core) noteAsked(t probe.Token, a *asked) {
	c.setAsked(t, a)
	c.tx.undo = append(c.tx.undo, func() { c.forgetAsked(t, a) })
}

func (c *Core) setAsked(t probe.Token, a *asked) {
	c.asked[t] = a
	c.tokensOf[a.move] = append(c.tokensOf[a.move], t)
}

func (c *Core) forgetAsked(t probe.Token, a *asked) {
	delete(c.asked, t)
	left := slices.DeleteFunc(slices.Clone(c.tokensOf[a.move]), func(x probe.Token) bool { return x == t })
	if c.tokensOf[a.move] = left; len(left) == 0 {
		delete(c.tokensOf, a.move)
	}
}

// askedTokens lists all tokens in a fixed order.
func (c *Core) askedTokens() []probe.Token {
	return slices.SortedFunc(maps.Keys(c.asked), func(a, b probe.Token) int { return slices.Compare(a[:], b[:]) })
}

// openProof finds a proof that an answer can still close; m may be nil.
func (m *Move) openProof(k proofKey) *Proof {
	if m == nil {
		return nil
	}
	if p := m.proof(k); p != nil && p.unanswered() {
		return p
	}
	return nil
}

// endProof closes a proof and calls off what is still being done for it.
func (c *Core) endProof(t probe.Token, p *Proof, s ProofState, detail string) {
	p.State, p.Detail = s, detail
	if !p.Asked.IsZero() {
		p.Took = c.now.Sub(p.Asked)
	}
	c.emit(Count{"proofs", p.Kind.String() + "/" + s.String()})
	c.callOff(t)
}

// callOff forgets a proof and tells those who are busy with it. Where the record
// that closed it is taken back, the proof is open again: it is asked for anew,
// when the store may take the answer.
func (c *Core) callOff(t probe.Token) {
	a := c.asked[t]
	if a == nil {
		return
	}
	c.forgetAsked(t, a)
	for _, p := range a.tasks {
		c.endTask(t, p.To)
	}
	c.tx.undo = append(c.tx.undo, func() {
		c.setAsked(t, a)
		c.redo = append(c.redo, func() { c.askAgain(t) })
	})
}

func (c *Core) endTask(t probe.Token, node string) {
	if _, up := c.provers[node]; up {
		c.emit(Prove{node, Task{Token: t, Action: TaskCancel}})
	}
}

// askAgain gives out anew the tasks of a proof whose answer could not be kept.
func (c *Core) askAgain(t probe.Token) {
	a := c.asked[t]
	if a == nil {
		return
	}
	for _, p := range a.tasks {
		if _, up := c.provers[p.To]; up {
			c.emit(p)
		}
	}
}
