package wire

import "fmt"

// Type is the MH Type of a message (RFC 6275 section 6.1.1).
type Type uint8

// The message types of the profile, named as the draft and the RFCs name them.
const (
	TypeInvalid            Type = 0  // Binding Refresh Request; not used here
	TypeRequest            Type = 5  // Registration Request: (Proxy) Binding Update
	TypeReply              Type = 6  // Registration Reply: (Proxy) Binding Acknowledgement
	TypeBindingError       Type = 7  // RFC 6275 section 6.1.9
	TypeHeartbeat          Type = 13 // RFC 5847 section 3.3
	TypeRevocation         Type = 16 // RFC 5846 section 5
	TypeUpdateNotification Type = 19 // RFC 7077 section 4.1
	TypeUpdateAck          Type = 20 // RFC 7077 section 4.2
)

func (t Type) String() string {
	switch t {
	case TypeRequest:
		return "request"
	case TypeReply:
		return "reply"
	case TypeBindingError:
		return "binding error"
	case TypeHeartbeat:
		return "heartbeat"
	case TypeRevocation:
		return "revocation"
	case TypeUpdateNotification:
		return "update notification"
	case TypeUpdateAck:
		return "update ack"
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// fixedLen is the offset of the first option, in bytes; 0 for a type that the
// profile does not have.
func (t Type) fixedLen() int {
	switch t {
	case TypeRequest, TypeReply, TypeHeartbeat, TypeRevocation, TypeUpdateNotification, TypeUpdateAck:
		return 12
	case TypeBindingError:
		return 24
	}
	return 0
}
