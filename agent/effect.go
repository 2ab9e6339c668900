package agent

import (
	"net/netip"
	"time"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
)

// Ref names an effect until its Result; 0 = none is wanted.
type Ref uint64

// Effect is something to be done, in the order given: one of Send, Persist,
// Apply, Adopt, HoldLimit, Switch, GiveBack, SnapshotFlows, ReadCounters,
// ReadGroup, Announce, Answer, Report, Traffic, Count, Note.
type Effect interface{ effect() }

// Send asks for a message to be sent.
type Send struct{ registration.Send }

// Persist asks for a record to be put where it survives the process, or
// (Delete) taken away. ErrRegionFull is an ordinary Result.
type Persist struct {
	Ref    Ref
	Record Record
	Delete bool
}

// Apply says which rules the device should hold for one owner, all of them; it
// may take as long as the device does. The Result has the first error that a
// rule met.
type Apply struct {
	Ref   Ref
	VM    mobility.VMID       // zero: the hypervisor's own
	UpTo  hwabstraction.Stamp // the owner, and the highest epoch of what may be removed
	Rules []hwabstraction.Rule
	// Verify: the device is read before, and what it has lost is put back.
	Verify bool
}

// Adopt tells, after a start, that every owner who is to have rules has been
// named by an Apply: what else is found on the device is nobody's.
type Adopt struct{}

// HoldLimit bounds what a group may hold.
type HoldLimit struct {
	Stamp hwabstraction.Stamp
	Limit hwabstraction.HoldLimit
}

// SwitchOp is a switch of a group.
type SwitchOp uint8

// Switches.
const (
	OpArm SwitchOp = iota + 1
	OpDisarm
	OpActivate
)

func (o SwitchOp) String() string { return [...]string{"invalid", "arm", "disarm", "activate"}[o] }

// Switch asks for a group to be switched, at once: the Result is stepped
// before anything else.
type Switch struct {
	Ref   Ref
	Op    SwitchOp
	Stamp hwabstraction.Stamp
}

// GiveBack ends a hold without delivery.
type GiveBack struct {
	Ref   Ref
	Stamp hwabstraction.Stamp
}

// SnapshotFlows asks for the flows of the addresses to be read and loaded into
// the group.
type SnapshotFlows struct {
	Ref   Ref
	Stamp hwabstraction.Stamp
	Addrs []netip.Addr
}

// ReadCounters asks for rules' counters.
type ReadCounters struct {
	Ref Ref
	IDs []hwabstraction.RuleID
}

// ReadGroup asks for a group's state.
type ReadGroup struct {
	Ref   Ref
	Stamp hwabstraction.Stamp
}

// Announce tells a VM that its gateways are behind its port here. The VM's own
// addresses are never announced to it: a guest would take that for a duplicate.
type Announce struct{ Port string }

// Answer ends a command. Err is a *CommandError, a *mobility.StatusError of
// the management node, or nil.
type Answer struct {
	ID        CommandID
	Err       error
	VM        *View // Attach
	Epoch     mobility.Epoch
	ArmedAt   time.Time     // Release
	Took      time.Duration // Release, Activate
	Addresses []netip.Addr  // Activate: the slots here
	Olds      []netip.Addr  // Activate
	Committed bool          // Activate
}

// Report gives the management node the figures of one move.
type Report struct {
	VM    mobility.VMID
	Epoch mobility.Epoch
	Figures
}

// Count raises a counter by one; Name is a stable snake_case label.
type Count struct{ Name string }

// Level of a Note.
type Level uint8

// Levels.
const (
	LevelDebug Level = iota
	LevelInfo
	LevelWarn
)

// Note is a line for the log.
type Note struct {
	Level Level
	VM    mobility.VMID
	Text  string
	Err   error
}

func (Send) effect()          {}
func (Persist) effect()       {}
func (Apply) effect()         {}
func (Adopt) effect()         {}
func (HoldLimit) effect()     {}
func (Switch) effect()        {}
func (GiveBack) effect()      {}
func (SnapshotFlows) effect() {}
func (ReadCounters) effect()  {}
func (ReadGroup) effect()     {}
func (Announce) effect()      {}
func (Answer) effect()        {}
func (Report) effect()        {}
func (Count) effect()         {}
func (Note) effect()          {}

// CommandCode says why a command was refused here.
type CommandCode uint8

// Codes. The zero value is invalid.
const (
	CommandInvalid  CommandCode = iota + 1 // the command makes no sense
	CommandNotFound                        // no such VM here
	CommandNotReady                        // the VM is not in the state that the command needs
	CommandDevice                          // the device did not do it
	CommandFull                            // no room left
)

// CommandError refuses a command.
type CommandError struct {
	Code   CommandCode
	Reason string
	Err    error
}

func (e *CommandError) Error() string {
	if e.Err != nil {
		return "agent: " + e.Reason + ": " + e.Err.Error()
	}
	return "agent: " + e.Reason
}

func (e *CommandError) Unwrap() error { return e.Err }
