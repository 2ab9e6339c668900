package mgmt

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// ProofKind is what a proof is of. The zero value is invalid.
type ProofKind uint8

// Kinds of proofs.
const (
	ProofDelivery ProofKind = iota + 1 // a packet to the delivery address reaches the destination
	ProofSource                        // the destination may send from the VM's address
	// Of moves that are to have host routes, about the move's probe address:
	ProofAnnounced // an observer's kernel has its host route
	ProofReached   // what an observer sends to it reaches the destination
	ProofRetracted // an observer's kernel has its host route no longer
	// After the COMMIT, of moves with host routes:
	ProofInstalled // an observer's kernel has the host route
	ProofServed    // what an observer sends reaches the serving hypervisor without the source
	ProofWithdrawn // an observer's kernel has the host route no longer
)

// after reports whether the proof is about a committed move.
func (k ProofKind) after() bool { return k >= ProofInstalled }

// rehearsed reports whether the proof is about a probe address.
func (k ProofKind) rehearsed() bool { return k >= ProofAnnounced && k <= ProofRetracted }

var proofKinds = [...]string{"invalid", "delivery", "source", "announced", "reached", "retracted", "installed", "served", "withdrawn"}

func (k ProofKind) String() string { return proofKinds[min(int(k), len(proofKinds)-1)] }

// ProofState is how far a proof is. The zero value is invalid.
type ProofState uint8

// States of a proof.
const (
	ProofWaiting  ProofState = iota + 1 // its turn has not come
	ProofAsked                          // under way
	ProofSeen                           // the network has been seen to be ready
	ProofMissing                        // it did not come in time
	ProofNotAsked                       // nobody could be asked; Detail says why
)

var proofStates = [...]string{"invalid", "waiting", "asked", "seen", "missing", "not_asked"}

func (s ProofState) String() string { return proofStates[min(int(s), len(proofStates)-1)] }

// MarshalText writes the word of the kind.
func (k ProofKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads it.
func (k *ProofKind) UnmarshalText(b []byte) error {
	i, err := word(proofKinds[:], b)
	*k = ProofKind(i)
	return err
}

// MarshalText writes the word of the state.
func (s ProofState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads it.
func (s *ProofState) UnmarshalText(b []byte) error {
	i, err := word(proofStates[:], b)
	*s = ProofState(i)
	return err
}

func word(words []string, b []byte) (int, error) {
	i := slices.Index(words, string(b))
	if i < 1 {
		return 0, fmt.Errorf("mgmt: %q is none of %v", b, words[1:])
	}
	return i, nil
}

// open reports whether an answer is still to come.
func (s ProofState) open() bool { return s == ProofWaiting || s == ProofAsked }

// Proof is one thing that was, or was not, seen of the network before a move
// went on.
type Proof struct {
	Kind     ProofKind     `json:"kind"`
	Address  netip.Addr    `json:"address"` // what it is about
	From     string        `json:"from"`    // who sends
	To       string        `json:"to"`      // who is to have it
	State    ProofState    `json:"state"`
	Required bool          `json:"required,omitempty"` // the move does not go on without it
	Asked    time.Time     `json:"asked,omitzero"`
	Took     time.Duration `json:"took_ns,omitempty"`
	Detail   string        `json:"detail,omitempty"`
}

// proofKey names a proof among those of a move.
type proofKey struct {
	kind     ProofKind
	address  netip.Addr
	from, to string
}

func (p *Proof) key() proofKey { return proofKey{p.Kind, p.Address, p.From, p.To} }

// String says what was to be proved, for people.
func (p *Proof) String() string {
	switch p.Kind {
	case ProofDelivery:
		return fmt.Sprintf("that delivery address %s leads from %s to %s", p.Address, p.From, p.To)
	case ProofSource:
		return fmt.Sprintf("that %s may send from %s (a source filter or uRPF on its router?), seen by %s", p.From, p.Address, p.To)
	case ProofAnnounced:
		return fmt.Sprintf("that %s has the host route of probe address %s, which %s's router announces as it will the VM's", p.From, p.Address, p.To)
	case ProofReached:
		return fmt.Sprintf("that %s reaches %s at probe address %s", p.From, p.To, p.Address)
	case ProofRetracted:
		return fmt.Sprintf("that %s has the host route of probe address %s no longer", p.From, p.Address)
	case ProofInstalled:
		return fmt.Sprintf("that %s has the host route of %s", p.From, p.Address)
	case ProofServed:
		return fmt.Sprintf("that %s reaches %s at %s without the source", p.From, p.Address, p.To)
	case ProofWithdrawn:
		return fmt.Sprintf("that %s has the host route of %s no longer", p.From, p.Address)
	}
	return p.Kind.String()
}

// reporter is the node whose word counts: who catches, or whose kernel it is.
func (p *Proof) reporter() string {
	switch p.Kind {
	case ProofAnnounced, ProofRetracted, ProofInstalled, ProofWithdrawn:
		return p.From
	}
	return p.To
}

// proof finds a proof of the move, or nil.
func (m *Move) proof(k proofKey) *Proof {
	for i := range m.Proofs {
		if m.Proofs[i].key() == k {
			return &m.Proofs[i]
		}
	}
	return nil
}

// proving reports whether a proof is still to come.
func (m *Move) proving() bool {
	for i := range m.Proofs {
		if m.Proofs[i].State.open() {
			return true
		}
	}
	return false
}

// missing says, for people, which proofs have not come.
func (m *Move) missing() string {
	var list []string
	for i := range m.Proofs {
		if p := &m.Proofs[i]; p.State == ProofMissing {
			text := p.String()
			if p.Detail != "" {
				text += ": " + p.Detail
			}
			list = append(list, text)
		}
	}
	return strings.Join(list, "; ")
}
