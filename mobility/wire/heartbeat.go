package wire

import "encoding/binary"

// HeartbeatFlags are the flags of a heartbeat.
type HeartbeatFlags uint16

// Flags of a heartbeat (RFC 5847 section 3.3).
const (
	HeartbeatUnsolicited HeartbeatFlags = 0x02 // U: a response nobody asked for
	HeartbeatResponse    HeartbeatFlags = 0x01 // R
)

// Heartbeat is the fixed part of a Heartbeat message (RFC 5847 section 3.3),
// from byte 6:
//
//	                                +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	                                |        Reserved           |U|R|
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                        Sequence Number                        |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type Heartbeat struct {
	Flags    HeartbeatFlags
	Sequence uint32 // starts at random; a response repeats the request's
}

func (h *Heartbeat) parse(b []byte) {
	h.Flags = HeartbeatFlags(binary.BigEndian.Uint16(b[6:]))
	h.Sequence = binary.BigEndian.Uint32(b[8:])
}

func (h *Heartbeat) put(b []byte) {
	binary.BigEndian.PutUint16(b[6:], uint16(h.Flags))
	binary.BigEndian.PutUint32(b[8:], h.Sequence)
}
