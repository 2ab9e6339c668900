package bul

import (
	"bytes"
	"fmt"
	"net/netip"

	"github.com/dpmip/dpmip/mobility"
)

// Bounds of one entry.
const (
	MaxPort  = 15   // bytes of a port's name (IFNAMSIZ - 1)
	MaxExtra = 4096 // bytes of Entry.Extra
)

// Role says what this hypervisor is to the VM. The zero value is invalid.
type Role uint8

// Roles, in the order in which a VM passes through them.
const (
	RoleServing   Role = iota + 1 // the VM runs here
	RolePreparing                 // destination of a move: deliveries installed, holding
	RoleSource                    // source of a prepared move: redirect installed, disarmed
	RoleAnchor                    // the VM ran here: redirect armed
	RoleGone                      // nothing forwards any more; kept for its deadlines and epoch
)

var roleNames = [...]string{"invalid", "serving", "preparing", "source", "anchor", "gone"}

func (r Role) String() string {
	if int(r) < len(roleNames) {
		return roleNames[r]
	}
	return fmt.Sprintf("role(%d)", uint8(r))
}

// Flags are properties of an entry. Bits without a name here are kept as they
// are.
type Flags uint16

// Flags of an entry.
const (
	FlagActivated  Flags = 1 << iota // the VM was activated here
	FlagCommitOwed                   // COMMIT has not been answered yet
	FlagReleased                     // the VM's port was released here: the redirect is armed
	FlagWithdrawn                    // forwarding was taken back (ABORT, drain)
	FlagAttached                     // the VM's port is present
)

// Has reports whether all bits of g are set.
func (f Flags) Has(g Flags) bool { return f&g == g }

// DeliveryFlags are properties of one delivery. Bits without a name here are
// kept as they are; the highest one must be 0.
type DeliveryFlags uint8

// Flags of a delivery.
const (
	DeliveryCurrent    DeliveryFlags = 1 << iota // Old is one of the VM's current slots (vendor option 7)
	DeliveryDrained                              // nothing is delivered to Old any more
	DeliveryQuarantine                           // D is not to be given out before Until
)

// Port is the name of the VM's port, at most MaxPort bytes. It is comparable;
// the zero Port means "none".
type Port [MaxPort + 1]byte

// PortOf makes a Port of an interface's name.
func PortOf(name string) (Port, error) {
	var p Port
	if len(name) > MaxPort || bytes.IndexByte([]byte(name), 0) >= 0 {
		return p, fmt.Errorf("bul: port name %q: want at most %d bytes and no NUL", name, MaxPort)
	}
	copy(p[:], name)
	return p, nil
}

// bytes is the name without its padding; it aliases the port.
func (p *Port) bytes() []byte {
	if n := bytes.IndexByte(p[:MaxPort], 0); n >= 0 {
		return p[:n]
	}
	return p[:MaxPort]
}

func (p Port) String() string { return string(p.bytes()) }

// Delivery is a delivery address of the VM and what holds for it.
type Delivery struct {
	mobility.Delivery
	Flags DeliveryFlags
	Until int64 // deadline of the quarantine, wall clock in ns since 1970; 0: none
}

// Entry is the agent's record of one VM. The caller owns it with all its
// slices; the list copies. All times are wall clock, in ns since 1970, 0
// meaning "none": an entry outlives the process and its monotonic clock.
type Entry struct {
	ID    mobility.VMID
	MAC   mobility.MAC
	Role  Role
	Flags Flags
	Epoch mobility.Epoch
	Port  Port

	Lifetime  mobility.Lifetime // as granted last
	ExpiresAt int64             // end of the lifetime
	SentAt    int64             // timestamp (option 27) of the last Request sent
	Sequence  uint16            // and its sequence number

	Slots      []netip.Addr    // the VM's addresses by slot, at most mobility.MaxSlots
	Deliveries []Delivery      // here, at most mobility.MaxOldAddresses
	Redirects  []mobility.Pair // from here, at most mobility.MaxOldAddresses

	// Locator and Locator4 are the other hypervisor of the move (option 3 and
	// option 38): the destination where this one redirects, the source where it
	// prepares.
	Locator, Locator4 netip.Addr

	Ticket mobility.Ticket
	Move   mobility.MoveOptions // with the phase

	QuarantineUntil int64 // the entry is kept, and its addresses stay blocked, until then

	// Extra is what later versions of the agent add, at most MaxExtra bytes,
	// in an encoding of their own.
	Extra []byte
}

// Reset empties the entry and keeps the room of its slices.
func (e *Entry) Reset() {
	*e = Entry{Slots: e.Slots[:0], Deliveries: e.Deliveries[:0], Redirects: e.Redirects[:0], Extra: e.Extra[:0]}
}
