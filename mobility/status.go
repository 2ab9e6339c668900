package mobility

import "fmt"

// Status is the status code of a Reply (RFC 6275 6.1.8, RFC 5213 8.9, RFC 5844
// 3.1.2). Below 128 the Request was accepted.
type Status uint8

// Status codes in use; what each means here is told in docs/protocol.md.
const (
	StatusAccepted          Status = 0
	StatusUnspecified       Status = 128
	StatusProhibited        Status = 129 // administratively prohibited: policy, ticket, epoch, not now
	StatusResources         Status = 130 // insufficient resources
	StatusNotSupported      Status = 131 // P flag missing: home registration not supported
	StatusSequence          Status = 135 // sequence number out of window
	StatusForwardingFailed  Status = 143 // forwarding set-up failed (profile)
	StatusReplayMismatch    Status = 144 // replay option: timestamp out of range (MIPV6-ID-MISMATCH)
	StatusReplayMissing     Status = 145 // replay option required and absent (MIPV6-MESG-ID-REQD)
	StatusAuthFailed        Status = 146 // MIPV6-AUTH-FAIL
	StatusNotVMForThisNode  Status = 153 // not the serving node for this VM
	StatusNotAuthorisedNode Status = 154 // MAG_NOT_AUTHORIZED_FOR_PROXY_REG
	StatusAddress6          Status = 155 // NOT_AUTHORIZED_FOR_HOME_NETWORK_PREFIX
	StatusTimestampMismatch Status = 156 // TIMESTAMP_MISMATCH
	StatusTimestampOlder    Status = 157 // TIMESTAMP_LOWER_THAN_PREV_ACCEPTED
	StatusMissingAddress    Status = 158 // MISSING_HOME_NETWORK_PREFIX_OPTION
	StatusPairMismatch      Status = 159 // BCE_PBU_PREFIX_SET_DO_NOT_MATCH
	StatusMissingID         Status = 160 // MISSING_MN_IDENTIFIER_OPTION
	StatusMalformedPrefix   Status = 141 // profile: malformed prefix length
	StatusNoIPv4            Status = 170 // NOT_AUTHORIZED_FOR_IPV4_MOBILITY_SERVICE
	StatusAddress4          Status = 171 // NOT_AUTHORIZED_FOR_IPV4_HOME_ADDRESS
)

var statusNames = map[Status]string{
	0: "accepted", 128: "unspecified", 129: "prohibited", 130: "insufficient resources",
	131: "not supported", 135: "sequence out of window", 141: "malformed prefix",
	143: "forwarding set-up failed", 144: "replay option mismatch", 145: "replay option missing",
	146: "authentication failed", 153: "not this node's VM", 154: "hypervisor not authorised",
	155: "IPv6 address not authorised", 156: "timestamp mismatch", 157: "timestamp older than accepted",
	158: "address missing", 159: "pairs do not match", 160: "VM identifier missing",
	170: "no IPv4 service here", 171: "IPv4 address not authorised",
}

// Accepted reports whether the status grants the Request.
func (s Status) Accepted() bool { return s < 128 }

func (s Status) String() string {
	if n, ok := statusNames[s]; ok {
		return n
	}
	return fmt.Sprintf("status %d", uint8(s))
}

// StatusError is a refusal that a peer sent, or is to be sent: what callers
// branch on when they need the code.
type StatusError struct {
	Status Status
	Reason string // for people: names the field, VM or peer
}

func (e *StatusError) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("refused: %s (%d)", e.Status, uint8(e.Status))
	}
	return fmt.Sprintf("refused: %s (%d): %s", e.Status, uint8(e.Status), e.Reason)
}

// Refuse builds a StatusError with a formatted reason.
func Refuse(s Status, format string, args ...any) *StatusError {
	return &StatusError{Status: s, Reason: fmt.Sprintf(format, args...)}
}
