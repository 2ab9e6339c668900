package hwabstraction

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Sentinels that callers branch on; backends wrap them.
var (
	ErrNotSupported = errors.New("hwabstraction: not supported")         // an ordinary answer
	ErrTableFull    = errors.New("hwabstraction: table full")            // retry after deleting
	ErrInvalidRule  = errors.New("hwabstraction: invalid rule")          // the caller's mistake
	ErrStale        = errors.New("hwabstraction: a newer epoch owns it") // never retried
	ErrPortGone     = errors.New("hwabstraction: no such port")          // retry when it is back
	ErrNoGroup      = errors.New("hwabstraction: no rule has this stamp")
	ErrClosed       = errors.New("hwabstraction: device closed")
)

// Placement says where a rule really sits, read back from the device. Higher
// is better; the ladder is climbed down visibly.
type Placement uint8

// Placements.
const (
	PlacementNone Placement = iota
	PlacementKernelRoute
	PlacementEBPF
	PlacementHardwareStateless
	PlacementHardwareConntrack
)

var placementNames = [...]string{"none", "kernel-route", "ebpf", "hardware", "hardware-ct"}

func (p Placement) String() string {
	if int(p) < len(placementNames) {
		return placementNames[p]
	}
	return fmt.Sprintf("placement(%d)", uint8(p))
}

// Change puts or deletes one rule. A delete needs the rule's ID and a stamp:
// it removes what the stamp's owner holds at or below the stamp's epoch, and
// deleting what is absent or owned by a newer epoch is no error and no change.
type Change struct {
	Delete bool
	Rule   Rule   // put; nil on delete
	ID     RuleID // delete
	Stamp  Stamp  // delete
}

// Put returns the change that makes a rule be.
func Put(r Rule) Change { return Change{Rule: r} }

// Remove returns the change that makes a rule not be.
func Remove(id RuleID, s Stamp) Change { return Change{Delete: true, ID: id, Stamp: s} }

// Target is the ID that the change is about.
func (c Change) Target() RuleID {
	if c.Delete {
		return c.ID
	}
	return c.Rule.ID()
}

// Result answers one Change.
type Result struct {
	ID        RuleID
	Placement Placement // where the rule sits now; PlacementNone after a delete or an error
	Err       error
}

// RuleStatus is one rule as the device itself holds it.
type RuleStatus struct {
	Rule      Rule
	Placement Placement
	On        bool // its group is switched on: armed or active. Always true for kinds without a group
}

// Counter counts what a rule has taken.
type Counter struct {
	Packets, Bytes uint64
	LastUse        time.Time // zero: never used
}

// GroupStatus is the switch state and the figures of one group.
type GroupStatus struct {
	Stamp     Stamp
	Armed     bool          // redirects act
	Active    bool          // deliveries act
	Returning bool          // GiveBack was called
	ArmedAt   time.Time     // zero: never. By the device's clock, CLOCK_MONOTONIC converted
	FirstHit  time.Time     // first packet redirected after arming; zero: none
	Held      uint64        // packets that were ever held
	HeldNow   uint64        // packets still held
	HoldDrops uint64        // packets lost because a hold bound was reached
	MaxHold   time.Duration // longest time a packet was held, as far as the device can tell
}

// HoldLimit bounds what one group may hold. What comes first stays, what is
// beyond a bound is dropped and counted as hold_full. Zero fields mean the
// backend's defaults (4096 packets, 8 MiB, 10 s).
type HoldLimit struct {
	Packets int
	Bytes   int
	Time    time.Duration // from the first packet held to the last one taken
}

// Flow is one connection of a VM, learned before its move.
type Flow struct {
	Protocol  uint8    // 6, 17, 1, 58, ...
	VM        Endpoint // the VM's side
	Peer      Endpoint
	SeenReply bool
}

// Drops counts, by a stable snake_case reason, what the device dropped on
// purpose: source_guard, hold_full, new_flow, hop_limit, ...
type Drops map[string]uint64

// Trapped is one packet that a Trap gave to the agent.
type Trapped struct {
	ID    RuleID
	Frame []byte // from the IP header on
}

// Device programs one NIC (or its stand-in in software). The caller says what
// should be, in batches; every call is idempotent. A Device is used by one
// goroutine at a time, but Arm, Disarm, Activate, Counters and Group may be
// called while another goroutine is inside Apply. After a process restart a
// new Device finds the rules of the old one still acting and returns them from
// Rules; opening and closing touch no forwarding.
type Device interface {
	// Capabilities tells what this device can do, with reasons for what not.
	Capabilities() Capabilities

	// Apply carries out the changes and returns one Result for each, in order.
	// Within a batch puts come before deletes unless they name one ID. A
	// failed change does not undo others. New groups start switched off.
	Apply(ctx context.Context, changes []Change) []Result

	// Rules reads back every rule from the device itself, never from a cache.
	Rules(ctx context.Context) ([]RuleStatus, error)

	// Arm makes the group's redirects act, Disarm makes them not. One atomic
	// step; repeating is no error; ErrNoGroup where nothing has this stamp.
	Arm(s Stamp) error
	Disarm(s Stamp) error

	// Activate makes the group's deliveries act, overriding redirects of lower
	// epochs, then releases what was held, in order. It returns when delivery
	// has begun (microseconds); the release goes on by itself. A group that was
	// given back stays so: ErrStale.
	Activate(s Stamp) error

	// GiveBack ends a hold without delivery: what is held leaves, restored,
	// into the fabric, and so do stragglers, until the rules are deleted. An
	// active group has nothing to give back: no error and no change.
	GiveBack(ctx context.Context, s Stamp) error

	// SetHoldLimit bounds a group's hold; before its rules are put. A negative
	// bound is ErrInvalidRule.
	SetHoldLimit(s Stamp, l HoldLimit) error

	// LoadFlows gives the group's redirects the flows that count as
	// established; new flows cannot evict them. It returns how many were
	// taken; ErrTableFull where not all (the rest is redirected and counted).
	LoadFlows(ctx context.Context, s Stamp, flows []Flow) (int, error)

	// Counters reads the counters of the named rules, absent ones left out.
	Counters(ctx context.Context, ids []RuleID) (map[RuleID]Counter, error)
	// Group reads a group's state; ErrNoGroup where nothing has this stamp.
	Group(s Stamp) (GroupStatus, error)
	// Drops reads the drop counters.
	Drops(ctx context.Context) (Drops, error)

	// Trapped is the stream of packets for Trap rules; slow readers lose them.
	Trapped() <-chan Trapped
	// Transmit sends one Ethernet frame out of a port.
	Transmit(port string, frame []byte) error

	// Close lets go of the device and leaves every rule acting.
	Close() error
}

// Fencer is a Device that can tell when the packets judged before a call are
// on their way no more: it is asked after Arm, before the VM's port goes. It
// may be called while other goroutines use the device. An error means that it
// cannot tell; a device whose pipeline is empty in microseconds needs no fence.
type Fencer interface {
	Fence(ctx context.Context) error
}
