package mgmt

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dpmip/dpmip/internal/probe"
	"github.com/dpmip/dpmip/mobility"
)

// probing is what the world's nodes do for proofs: a probe that one sends and
// another is to catch comes, unless its kind is blocked.
type probing struct {
	catches, sends map[probe.Token]Prove
	blocked        map[string]bool
	kernel         func(node string, a netip.Addr) bool // has it a host route?
	due            []ProofReport
	can            map[string][]string // who has an open connection, and what each can do
	comeBack       bool                // they connect again to a new management node
}

func newProbing() probing {
	return probing{catches: map[probe.Token]Prove{}, sends: map[probe.Token]Prove{}, can: map[string][]string{}, blocked: map[string]bool{}}
}

func (p *probing) take(e Prove) {
	switch t := e.Task; t.Action {
	case TaskCatch:
		p.catches[t.Token] = e
	case TaskSend, TaskInstalled, TaskAbsent:
		p.sends[t.Token] = e
	case TaskCancel:
		if p.catches[t.Token].To == e.To {
			delete(p.catches, t.Token)
		} else {
			delete(p.sends, t.Token)
		}
	}
	p.look(e.Task.Token)
}

// look has a probe caught that is sent and awaited, and a kernel looked at that
// is asked.
func (p *probing) look(t probe.Token) {
	c, awaited := p.catches[t]
	s, sent := p.sends[t]
	if sent && s.Task.Action != TaskSend && !p.blocked[s.To] && p.kernel(s.To, s.Task.Destination) == (s.Task.Action == TaskInstalled) {
		p.due = append(p.due, ProofReport{Node: s.To, Token: t, Seen: true})
	}
	if awaited && sent && !p.blocked[c.To] && c.Task.Destination == s.Task.Destination {
		p.due = append(p.due, ProofReport{Node: c.To, Token: t, Seen: true, Source: s.Task.Source})
	}
}

// prover is a node that connects.
func (w *world) prover(f []string) {
	w.probing.can[f[0]] = f[1:]
	w.step(ProverUp{Node: f[0], Can: f[1:]})
}

// provers connect to a management node that has started.
func (w *world) provers() {
	if !w.probing.comeBack {
		return
	}
	clear(w.probing.catches)
	clear(w.probing.sends)
	for _, node := range sortedKeys(w.probing.can) {
		w.step(ProverUp{Node: node, Can: w.probing.can[node]})
	}
}

// tasks says how much is still being done for proofs.
func (w *world) tasks([]string) {
	w.say("%d to catch, %d to send, %d asked", len(w.probing.catches), len(w.probing.sends), len(w.core.asked))
}

// lingering lists the host routes that ought to be gone.
func (w *world) lingering([]string) {
	for _, l := range w.core.Lingering() {
		w.say("%s: %s %s %s %s", l.VM, l.Proof.String(), l.Proof.State, l.Proof.Detail, l.Proof.To)
	}
	w.say("%d missing so far", w.counts["proofs withdrawn/missing"])
}

// mute is a node whose connection ends: it gives up what it was asked.
func (w *world) mute(f []string) {
	of := func(_ probe.Token, e Prove) bool { return e.To == f[0] }
	maps.DeleteFunc(w.probing.catches, of)
	maps.DeleteFunc(w.probing.sends, of)
	w.step(ProverDown{Node: f[0]})
}

func (w *world) unblock(f []string) {
	delete(w.probing.blocked, f[0])
	w.look()
}

// lookIntoKernels finds what has come true by itself.
func (w *world) lookIntoKernels() {
	for _, t := range slices.SortedFunc(maps.Keys(w.probing.sends), func(a, b probe.Token) int { return slices.Compare(a[:], b[:]) }) {
		if w.core != nil && w.core.asked[t] != nil && w.probing.sends[t].Task.Action != TaskSend && w.up(w.probing.sends[t].To) {
			w.probing.look(t)
		}
	}
}

func (w *world) up(node string) bool { _, up := w.core.provers[node]; return up }

func (w *world) look() {
	for _, t := range slices.SortedFunc(maps.Keys(w.probing.sends), func(a, b probe.Token) int { return slices.Compare(a[:], b[:]) }) {
		w.probing.look(t)
	}
}

func (w *world) proofs(f []string) {
	for _, p := range w.core.Move(mobility.NAI(f[0]), 0).Proofs {
		about := p.Address.String()
		if p.Kind == ProofDelivery {
			about = "delivery address"
		}
		w.say("%s", strings.TrimSpace(strings.Join([]string{p.Kind.String(), about, p.From, p.To, p.State.String(), p.Detail}, " ")))
	}
}

// TestProofFromAnotherAddress: a probe that a middlebox has given another source
// proves nothing about the VM's address.
func TestProofFromAnotherAddress(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testInventory)
	w.wait(2 * time.Second)
	w.exec(strings.Fields("prover a send catch"))
	w.exec(strings.Fields("prover b send catch"))
	w.exec(strings.Fields("register vm1@x a 2001:db8:a:1::10"))
	w.exec(strings.Fields("block a"))
	w.exec(strings.Fields("prepare vm1@x b"))
	m := w.core.Move(mobility.NAI("vm1@x"), 0)
	if m.State != MovePreparing {
		t.Fatalf("the move is %s with a proof to come", m.State)
	}
	for token, c := range w.probing.catches {
		w.step(ProofReport{Node: c.To, Token: token, Seen: true, Source: netip.MustParseAddr("2001:db8::bad")})
	}
	w.settle()
	if m = w.core.Move(m.VM, 0); m.State != MovePreparing {
		t.Errorf("the move is %s by a probe from another address", m.State)
	}
	w.wait(6 * time.Second)
	if m = w.core.Move(m.VM, 0); m.State != MoveAborted || !strings.Contains(m.Error, "it came from 2001:db8::bad") {
		t.Errorf("the move is %s: %s", m.State, m.Error)
	}
	if m.Receipt == nil || !strings.Contains(string(m.Receipt.Signed), `"state":"missing"`) {
		t.Errorf("the receipt of the aborted move does not tell the missing proof: %+v", m.Receipt)
	}
}

// TestProofReportsOfStrangers: only who was to catch can say that it came.
func TestProofReportsOfStrangers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testInventory)
	w.wait(2 * time.Second)
	for _, line := range []string{"prover a send catch", "prover b send catch", "register vm1@x a 2001:db8:a:1::10", "block b", "block a", "prepare vm1@x b"} {
		w.exec(strings.Fields(line))
	}
	for token, c := range w.probing.catches {
		w.step(ProofReport{Node: "c", Token: token, Seen: true, Source: c.Task.Source})
	}
	w.step(ProofReport{Node: "b", Token: probe.Token{1}, Seen: true})
	w.settle()
	m := w.core.Move(mobility.NAI("vm1@x"), 0)
	if m.State != MovePreparing || slices.ContainsFunc(m.Proofs, func(p Proof) bool { return p.State != ProofAsked }) {
		t.Errorf("the move is %s, its proofs %+v", m.State, m.Proofs)
	}
}
