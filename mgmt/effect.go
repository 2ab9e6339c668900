package mgmt

import (
	"github.com/dpmip/dpmip/mgmt/store"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
)

// Effect is something to be done, in order: one of Commit, Send, Done,
// Prove, MoveChanged, PublishNames, Count, Note.
type Effect interface{ effect() }

// Commit asks for the writes to be made durable in one transaction, in the
// order of ID; several may share one. Committed or CommitFailed ends it.
type Commit struct {
	ID     uint64
	Writes []store.Write
}

// Send asks for a message to be sent.
type Send struct{ registration.Send }

// Done ends a command. Err is a *mobility.StatusError where policy or state
// refuse it, ErrUnknown where what it names is not known.
type Done struct {
	ID       CommandID
	Move     *Move    // Prepare, Abort, SourceLost; as it is now
	Moves    []*Move  // Evacuate
	Problems []string // Evacuate
	Depends  []string // Retire
	Retired  bool     // Retire
	Err      error
}

// MoveChanged tells those who watch a move its new record, which is durable.
type MoveChanged struct{ Move *Move }

// Count raises a counter: Name is a snake_case word, Label the value of its one
// label or "".
type Count struct{ Name, Label string }

// Note is a line for the log.
type Note struct {
	Warning bool
	Debug   bool // ordinary and frequent
	Text    string
	VM      mobility.VMID
	Peer    string
	Epoch   mobility.Epoch
}

func (Commit) effect()      {}
func (Send) effect()        {}
func (Done) effect()        {}
func (MoveChanged) effect() {}
func (Count) effect()       {}
func (Note) effect()        {}
