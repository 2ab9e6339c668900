package mgmt

import (
	"net/netip"

	"github.com/dpmip/dpmip/mgmt/inventory"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
)

// Event is something that happened: one of Received, Unreachable,
// Committed, CommitFailed, InventoryChanged, ProverUp, ProverDown, ProofReport,
// RouterLimit, Traffic, Tick, Report, or a command: Prepare, Abort, SourceLost, Evacuate, Retire,
// AddFigures; or what became of an order for the DNS: NamesReported,
// NamesImpossible.
type Event interface{ event() }

// Received: the transport has a message of an allow-listed peer.
type Received struct{ registration.Inbound }

// Unreachable: the peer's kernel says that nobody listens.
type Unreachable struct{ To netip.Addr }

// Committed: every Commit up to and including this one is durable.
type Committed struct{ Through uint64 }

// CommitFailed: this Commit, and every later one that was given out, is not
// durable and never will be. The Core takes all of them back.
type CommitFailed struct {
	From uint64
	Err  error
}

// InventoryChanged: the operator's word has changed.
type InventoryChanged struct{ Inventory *inventory.Inventory }

// Tick: time has passed. See Core.Next.
type Tick struct{}

// CommandID names a command until its Done.
type CommandID uint64

// Prepare asks for a move. Zero options are the inventory's defaults.
type Prepare struct {
	ID      CommandID
	VM      mobility.VMID
	To      string
	Options mobility.MoveOptions
}

// Abort takes a move back that has not committed. Epoch 0 = the open one.
type Abort struct {
	ID    CommandID
	VM    mobility.VMID
	Epoch mobility.Epoch
	// DestinationFencedBy vouches that the destination neither holds nor runs the
	// VM any more: it is not asked. Empty = it is.
	DestinationFencedBy string
}

// SourceLost makes the open move to To, or a new one, go without its source,
// which FencedBy has fenced.
type SourceLost struct {
	ID       CommandID
	VM       mobility.VMID
	To       string
	FencedBy string
}

// Evacuate asks for a move of every VM that the hypervisor serves, spread over
// To (empty = every other hypervisor): each goes to the one that has the fewest
// VMs, then by name.
type Evacuate struct {
	ID         CommandID
	Hypervisor string
	To         []string
	Options    mobility.MoveOptions
}

// Retire takes a hypervisor out of service if nothing depends on it.
type Retire struct {
	ID         CommandID
	Hypervisor string
	DryRun     bool
}

// Report is what an agent counted for one move.
type Report struct {
	ID     CommandID
	VM     mobility.VMID
	Epoch  mobility.Epoch
	Holder HolderReport
}

// AddFigures adds what endpoints counted to a receipt.
type AddFigures struct {
	ID      CommandID
	VM      mobility.VMID
	Epoch   mobility.Epoch
	Figures EndpointFigures
}

func (Received) event()         {}
func (Unreachable) event()      {}
func (Committed) event()        {}
func (CommitFailed) event()     {}
func (InventoryChanged) event() {}
func (Tick) event()             {}
func (Prepare) event()          {}
func (Abort) event()            {}
func (SourceLost) event()       {}
func (Evacuate) event()         {}
func (Retire) event()           {}
func (Report) event()           {}
func (AddFigures) event()       {}
