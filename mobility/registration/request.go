package registration

import (
	"net/netip"
	"time"

	"github.com/dpmip/dpmip/mobility"
)

// Request is a VM Mobility Registration Request in words. Absent options are
// zero values. Slices belong to the receiver of the value.
type Request struct {
	VM       mobility.VMID
	MAC      mobility.MAC
	Handoff  mobility.HandoffIndicator
	Lifetime mobility.Lifetime // 0 removes
	// Slots are the addresses of a plain list: a hypervisor's own VM's slots,
	// or the draft's literal form from the management node. IPv6 first.
	Slots []netip.Addr
	// Pairs are what the management node sends to hypervisors and routers. On
	// the wire a pair is two consecutive address options; a Request from the
	// management node that carries a move option or comes in phase > 0 holds
	// pairs, one from a hypervisor holds slots (see Node.Receive).
	Pairs []mobility.Pair
	// Current says how many pairs, by family, are current slots (vendor option
	// 7); nil = all.
	Current *mobility.SlotCount
	// CareOf is option 3: the serving (or new) hypervisor's locator.
	CareOf netip.Addr
	// Locator4 is option 38: an IPv4 locator.
	Locator4   netip.Addr
	Timestamp  time.Time // set by the Node when it sends
	Ticket     mobility.Ticket
	Epoch      mobility.Epoch
	Move       mobility.MoveOptions // zero Mode = no move option
	Deliveries []mobility.Delivery
	Nonce      mobility.Nonce // set by the Node when it sends
}

// HasMove reports whether a move option is present.
func (r *Request) HasMove() bool { return r.Move.Mode != 0 }

// Reply is a VM Mobility Registration Reply in words. The Node fills VM,
// Handoff, MAC, Timestamp and Nonce from the Request where they are zero.
type Reply struct {
	Status     mobility.Status
	Lifetime   mobility.Lifetime // granted; never more than asked
	VM         mobility.VMID
	MAC        mobility.MAC
	Handoff    mobility.HandoffIndicator
	Slots      []netip.Addr
	Pairs      []mobility.Pair
	Deliveries []mobility.Delivery
	// Epoch is the epoch granted; on a refusal the highest epoch that the
	// responder knows of the VM, so that a restored management node can jump.
	Epoch     mobility.Epoch
	Timestamp time.Time
	Nonce     mobility.Nonce
}

// Auth is what the transport found out about a message's authenticator.
type Auth uint8

// Auth results. The zero value is invalid.
const (
	AuthInvalid     Auth = iota
	AuthOK               // verified with a key of this peer and direction
	AuthFailed           // an authenticator that does not verify, or an unknown SPI
	AuthAbsent           // none, and the peer has a key
	AuthNotRequired      // none, and the configuration accepts that
)

// Order is the durable part of the ordering state of one (VM, sender): what an
// Ask must leave behind before its Answer is sent.
type Order struct {
	VM        mobility.VMID
	Sender    netip.Addr
	Timestamp time.Time // zero in sequence mode
	Sequence  uint16
}

// Token names a Request that the caller submitted. It is the caller's own and
// must be unique among the open ones; submitting an open token replaces its
// Request (the old one's answers no longer count).
type Token uint64

// Handle names an Ask that waits for its Answer.
type Handle uint64
