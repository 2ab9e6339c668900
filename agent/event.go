package agent

import (
	"net/netip"
	"time"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
)

// Event is something that happened: one of Inbound, Unreachable, Attach,
// Release, Activate, Detach, Result, Tick.
type Event interface{ event() }

// Inbound is a message that the transport received.
type Inbound struct{ registration.Inbound }

// Unreachable: nobody listens at To, says the kernel.
type Unreachable struct{ To netip.Addr }

// CommandID names a control command until its Answer.
type CommandID uint64

// Attach: a VM's port is here and the VM is to be registered. Empty Port, MAC
// and Addresses are taken from the configuration. Wait bounds how long the
// answer waits for the management node's; 0 = answer at once.
type Attach struct {
	ID        CommandID
	VM        mobility.VMID
	Port      string
	MAC       mobility.MAC
	Addresses []netip.Addr
	Wait      time.Duration

	plain bool // a move without PREPARE
}

// Release: the VM stops here now.
type Release struct {
	ID CommandID
	VM mobility.VMID
}

// Activate: the VM runs here. Wait bounds how long the answer waits for that
// of the COMMIT; 0 = answer as soon as delivery has begun.
type Activate struct {
	ID   CommandID
	VM   mobility.VMID
	Port string // empty: as prepared
	Wait time.Duration
}

// Detach: the VM is gone.
type Detach struct {
	ID   CommandID
	VM   mobility.VMID
	Wait time.Duration
}

// Result answers an effect that has a Ref. Fields without meaning for that
// effect are zero.
type Result struct {
	Ref      Ref
	Err      error
	At       time.Time     // Switch: when it acted
	Took     time.Duration // Switch: how long the device call took
	N        int           // SnapshotFlows: flows loaded
	Counters map[hwabstraction.RuleID]hwabstraction.Counter
	Group    hwabstraction.GroupStatus
	// Placement is the lowest of the rules named: ReadCounters.
	Placement hwabstraction.Placement
}

// Tick: time has passed. See Core.Next.
type Tick struct{}

func (Inbound) event()     {}
func (Unreachable) event() {}
func (Attach) event()      {}
func (Release) event()     {}
func (Activate) event()    {}
func (Detach) event()      {}
func (Result) event()      {}
func (Tick) event()        {}
