package registration

import (
	"net/netip"

	"github.com/dpmip/dpmip/mobility"
)

// Effect is something the Node wants done or known, in order. One of Send,
// Ask, Replied, Unanswered, PeerUp, PeerDown, RegisterAgain, Revoked,
// ClockOffset, Count.
type Effect interface{ effect() }

// Send asks for one message to be sent: Payload is a Mobility Header with a
// zero checksum and without authenticator; the transport signs it over CareOf
// and fills the checksum. CareOf says what the message and Self make it; the
// transport works it out from the address it really sends from, so that a node
// with a locator of each family is understood on both.
type Send struct {
	To      netip.Addr
	CareOf  netip.Addr
	Payload []byte
	// Unauthenticated: the answer to a message that failed authentication;
	// sent within the budget for such answers, without authenticator unless
	// the peer has a key and Limit leaves room for one.
	Unauthenticated bool
	// Limit is the largest size in bytes that the message may have, authenticator
	// included; 0 = any. What cannot keep to it is not sent. It is the size of the
	// question where that was not authenticated.
	Limit int
}

// Ask puts a Request to the caller, who owes exactly one Answer. A repeated
// Request whose answer is owed is not asked again. Order must be durable
// before an accepting Answer is given.
type Ask struct {
	Handle  Handle
	From    netip.Addr
	Request Request
	Order   Order
}

// Replied ends a submitted Request: Reply.Status tells how.
type Replied struct {
	Token Token
	From  netip.Addr
	Reply Reply
}

// Unanswered tells that Tries transmissions of a Request have met silence (or
// an unreachable peer). The Node goes on retransmitting until Cancel.
type Unanswered struct {
	Token Token
	To    netip.Addr
	Tries int
	// Refused: the peer's kernel said that nobody listens there.
	Refused bool
}

// PeerUp tells that a peer answered a heartbeat after silence, or with another
// restart counter than before (Restarted).
type PeerUp struct {
	Peer      netip.Addr
	Restart   uint32
	Restarted bool
}

// PeerDown tells that a peer missed too many heartbeats.
type PeerDown struct{ Peer netip.Addr }

// RegisterAgain: the management node asks (Update Notification, reason 1) to
// register everything again. The Node has acknowledged it.
type RegisterAgain struct{ From netip.Addr }

// Revoked: the management node revokes a binding (RFC 5846). Acknowledged.
type Revoked struct {
	From    netip.Addr
	VM      mobility.VMID
	Trigger uint8
}

// ClockOffset tells the new offset to the management node's clock.
type ClockOffset struct{ Offset Offset }

// Count raises a counter by one; Name is a stable snake_case label.
type Count struct{ Name string }

func (Send) effect()          {}
func (Ask) effect()           {}
func (Replied) effect()       {}
func (Unanswered) effect()    {}
func (PeerUp) effect()        {}
func (PeerDown) effect()      {}
func (RegisterAgain) effect() {}
func (Revoked) effect()       {}
func (ClockOffset) effect()   {}
func (Count) effect()         {}
