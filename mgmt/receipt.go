package mgmt

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"time"

	"github.com/dpmip/dpmip/mobility"
)

// HolderReport is what one agent counted for one move: as source ("source",
// "anchor") what it redirected, as destination ("destination") what it held.
// Times are zero where they do not apply.
type HolderReport struct {
	Hypervisor        string        `json:"hypervisor"`
	Role              string        `json:"role"`
	Placement         string        `json:"placement,omitempty"`
	RedirectedPackets uint64        `json:"redirected_packets"`
	RedirectedBytes   uint64        `json:"redirected_bytes"`
	Armed             time.Time     `json:"armed,omitzero"`
	FirstHit          time.Time     `json:"first_hit,omitzero"`
	Drained           time.Time     `json:"drained,omitzero"`
	HeldPackets       uint64        `json:"held_packets"`
	HoldDrops         uint64        `json:"hold_drops"`
	MaxHold           time.Duration `json:"max_hold_ns"`
	Flows             uint64        `json:"flows"`
	ArmTook           time.Duration `json:"arm_took_ns"`
}

// EndpointFigures are counted at the endpoints, never by a daemon.
type EndpointFigures struct {
	Sent        uint64        `json:"sent"`
	Received    uint64        `json:"received"`
	Lost        uint64        `json:"lost"`
	Duplicated  uint64        `json:"duplicated"`
	Reordered   uint64        `json:"reordered"`
	Blackout    time.Duration `json:"blackout_ns"`
	Connections uint32        `json:"connections"`
	Survived    uint32        `json:"survived"`
	CountedBy   string        `json:"counted_by"`
	// Direct are new connections by name, in order of time; empty where nobody
	// opened any.
	Direct []DirectShare `json:"direct,omitempty"`
}

// DirectShare counts the new connections by name of a span of time: to a current
// address of the VM, or to an old one and so by the redirect.
type DirectShare struct {
	SinceCommit time.Duration `json:"since_commit_ns"`
	Length      time.Duration `json:"length_ns"`
	Attempted   uint32        `json:"attempted"`
	Direct      uint32        `json:"direct"`
	Redirected  uint32        `json:"redirected"`
	Failed      uint32        `json:"failed"`
}

// Receipt is the signature under the record of a committed move. It is made
// anew whenever the record changes.
type Receipt struct {
	Signed    []byte            `json:"signed"` // canonical JSON, what was signed
	Signature []byte            `json:"signature"`
	PublicKey ed25519.PublicKey `json:"public_key"`
	SignedAt  time.Time         `json:"signed_at"`
	Final     bool              `json:"final"` // the move is done
}

// Verify checks the signature with the key in the receipt. Whether that key is
// the management node's is the caller's to know.
func (r *Receipt) Verify() error {
	if len(r.PublicKey) != ed25519.PublicKeySize || !ed25519.Verify(r.PublicKey, r.Signed, r.Signature) {
		return fmt.Errorf("mgmt: the receipt's signature does not verify")
	}
	return nil
}

// statement is what a receipt says. Its JSON form, with sorted keys, is signed.
type statement struct {
	VM         mobility.VMID        `json:"vm"`
	From       string               `json:"from"`
	To         string               `json:"to"`
	Epoch      mobility.Epoch       `json:"epoch"`
	Options    mobility.MoveOptions `json:"options"`
	State      string               `json:"state"`
	SourceLost bool                 `json:"source_lost"`
	FencedBy   string               `json:"fenced_by,omitempty"`
	Slots      []string             `json:"slots"`
	Deliveries map[string]string    `json:"deliveries"`
	Phases     []signedPhase        `json:"phases"`
	Proofs     []Proof              `json:"proofs"`
	Holders    []HolderReport       `json:"holders"`
	Endpoints  *EndpointFigures     `json:"endpoints,omitempty"`
	Names      []NamesReport        `json:"names,omitempty"`
	SignedAt   int64                `json:"signed_at_ns"`
	Final      bool                 `json:"final"`
}

type signedPhase struct {
	Name   string `json:"name"`
	At     int64  `json:"at_ns"`
	Detail string `json:"detail,omitempty"`
}

// sign puts a fresh receipt into m.
func sign(key ed25519.PrivateKey, now time.Time, m *Move) error {
	s := statement{
		VM: m.VM, From: m.From, To: m.To, Epoch: m.Epoch, Options: m.Options.WithPhase(mobility.PhaseCommit), State: m.State.String(),
		SourceLost: m.SourceLost, FencedBy: m.FencedBy, Slots: []string{}, Deliveries: map[string]string{},
		Phases: []signedPhase{}, Proofs: append([]Proof{}, m.Proofs...), Holders: append([]HolderReport{}, m.Holders...), Endpoints: m.Figures, Names: m.Names,
		SignedAt: now.UnixNano(), Final: m.State.Ended(),
	}
	for _, a := range m.Slots {
		s.Slots = append(s.Slots, a.String())
	}
	for _, d := range m.Deliveries {
		s.Deliveries[d.Old.String()] = d.D.String()
	}
	for _, p := range m.Phases {
		s.Phases = append(s.Phases, signedPhase{p.Name, p.At.UnixNano(), p.Detail})
	}
	b, err := canonical(s)
	if err != nil {
		return err
	}
	m.Receipt = &Receipt{Signed: b, Signature: ed25519.Sign(key, b), PublicKey: key.Public().(ed25519.PublicKey), SignedAt: now, Final: s.Final}
	return nil
}

// canonical is JSON without blanks, object keys sorted.
func canonical(v any) ([]byte, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("mgmt: receipt: %w", err)
	}
	var tree any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber() // 64-bit counters do not fit a float
	if err := d.Decode(&tree); err != nil {
		return nil, fmt.Errorf("mgmt: receipt: %w", err)
	}
	out, err := json.Marshal(tree)
	if err != nil {
		return nil, fmt.Errorf("mgmt: receipt: %w", err)
	}
	return out, nil
}
