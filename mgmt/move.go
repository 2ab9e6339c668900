package mgmt

import (
	"net/netip"
	"slices"
	"time"

	"github.com/dpmip/dpmip/mobility"
)

// MoveState is where a move is. The zero value is invalid.
type MoveState uint8

// States of a move.
const (
	MovePreparing MoveState = iota + 1
	MoveReady               // destination holds, source is disarmed; waits for COMMIT
	MoveCommitted           // the binding points to the destination; source and routers are being told
	MoveDraining            // all confirmed; old addresses drain
	MoveDone
	MoveAborting
	MoveAborted
)

var moveStates = [...]string{"invalid", "preparing", "ready", "committed", "draining", "done", "aborting", "aborted"}

func (s MoveState) String() string { return moveStates[min(int(s), len(moveStates)-1)] }

// Before reports whether the move has neither committed nor ended.
func (s MoveState) before() bool { return s == MovePreparing || s == MoveReady || s == MoveAborting }

// Ended reports whether nothing more will happen.
func (s MoveState) Ended() bool { return s == MoveDone || s == MoveAborted }

// AbortStep is how far the abort sequence has come. 0 = not begun.
type AbortStep uint8

// Steps of the abort sequence (moves.md rows 11 to 13).
const (
	AbortStop     AbortStep = iota + 1 // the destination can no longer activate
	AbortDisarm                        // the source disarms
	AbortGiveBack                      // the destination gives back what it holds
)

// Move is the record of one move.
type Move struct {
	VM      mobility.VMID        `json:"vm"`
	From    string               `json:"from"`
	To      string               `json:"to"`
	Epoch   mobility.Epoch       `json:"epoch"`
	Options mobility.MoveOptions `json:"options"`
	// Ticket is kept as it is, not hashed: a repeated PREPARE carries it again.
	Ticket   mobility.Ticket `json:"ticket,omitzero"`
	State    MoveState       `json:"state"`
	Deadline time.Time       `json:"deadline,omitzero"` // for the COMMIT; zero = none

	DestinationReady bool   `json:"destination_ready,omitempty"`
	SourceReady      bool   `json:"source_ready,omitempty"`
	SourceTold       bool   `json:"source_told,omitempty"` // a PREPARE may have reached it
	SourceLost       bool   `json:"source_lost,omitempty"`
	FencedBy         string `json:"fenced_by,omitempty"`
	// DestinationFencedBy: an abort does without the destination, on whose word.
	DestinationFencedBy string    `json:"destination_fenced_by,omitempty"`
	Plain               bool      `json:"plain,omitempty"` // without PREPARE
	Abort               AbortStep `json:"abort,omitempty"`

	Addrs      []netip.Addr        `json:"addrs"`   // every live old address, as PREPARE lists them
	Current    mobility.SlotCount  `json:"current"` // how many of them are slots
	Deliveries []mobility.Delivery `json:"deliveries,omitempty"`
	Slots      []netip.Addr        `json:"slots,omitempty"` // at the destination, after COMMIT

	// Proofs are what is to be seen of the network; ProveBy is their deadline,
	// zero before they are asked for.
	Proofs  []Proof   `json:"proofs,omitempty"`
	ProveBy time.Time `json:"prove_by,omitzero"`

	Phases  []Phase          `json:"phases"`
	Error   string           `json:"error,omitempty"`
	Holders []HolderReport   `json:"holders,omitempty"`
	Figures *EndpointFigures `json:"figures,omitempty"`
	Names   []NamesReport    `json:"names,omitempty"`
	Receipt *Receipt         `json:"receipt,omitempty"`
}

// Phase is one step of a move and when the management node saw it.
type Phase struct {
	Name   string    `json:"name"`
	At     time.Time `json:"at"`
	Detail string    `json:"detail,omitempty"`
}

// Names of phases, in the order in which they usually come.
const (
	PhaseAsked               = "asked"
	PhaseDestinationPrepared = "destination_prepared"
	PhaseSourcePrepared      = "source_prepared"
	PhaseReady               = "ready"
	PhaseCommitted           = "committed"
	PhaseAnchorConfirmed     = "anchor_confirmed"
	PhaseRouteConfirmed      = "route_confirmed"
	PhaseConfirmed           = "confirmed" // all anchors and routers
	PhaseDrained             = "drained"
	PhaseDone                = "done"
	PhaseGaveWay             = "gave_way"     // a router is full: an address is translated
	PhaseRoutedAgain         = "routed_again" // there is room again
	PhaseSuperseded          = "superseded"
	PhaseEpochJumped         = "epoch_jumped"
	PhasePeerRestarted       = "peer_restarted"
	PhaseAbortAsked          = "abort_asked"
	PhaseAbortRefused        = "abort_refused"
	PhaseDestinationStopped  = "destination_stopped"
	PhaseDestinationFenced   = "destination_fenced"
	PhaseSourceDisarmed      = "source_disarmed"
	PhaseAborted             = "aborted"
)

func (m *Move) clone() *Move {
	c := *m
	c.Addrs = slices.Clone(m.Addrs)
	c.Deliveries = slices.Clone(m.Deliveries)
	c.Slots = slices.Clone(m.Slots)
	c.Proofs = slices.Clone(m.Proofs)
	c.Phases = slices.Clone(m.Phases)
	c.Holders = slices.Clone(m.Holders)
	c.Names = slices.Clone(m.Names)
	return &c
}

func (m *Move) phase(now time.Time, name, detail string) {
	m.Phases = append(m.Phases, Phase{name, now, detail})
}

// needsSource reports whether the source must prepare before the move is ready.
func (m *Move) needsSource() bool { return !m.SourceLost && m.Options.Mode != mobility.ModeCold }

func (m *Move) pairs() []mobility.Pair {
	list := make([]mobility.Pair, 0, len(m.Addrs))
	for _, a := range m.Addrs {
		to := a
		for _, d := range m.Deliveries {
			if d.Old == a {
				to = d.D
			}
		}
		list = append(list, mobility.Pair{Old: a, New: to})
	}
	return list
}

// moveID names a move.
type moveID struct {
	vm    mobility.VMID
	epoch mobility.Epoch
}
