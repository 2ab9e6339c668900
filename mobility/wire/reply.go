package wire

import (
	"encoding/binary"

	"github.com/dpmip/dpmip/mobility"
)

// ReplyFlags are the flags of a Reply.
type ReplyFlags uint8

// ReplyProxy is the P flag (RFC 5213 section 8.2). A sender sets it; a Reply
// without it is accepted and counted.
const ReplyProxy ReplyFlags = 0x20

// Reply is the fixed part of a Registration Reply, a Proxy Binding
// Acknowledgement (RFC 5213 section 8.2), from byte 6:
//
//	                                +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	                                |     Status    |K|R|P|Reserved |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|           Sequence #          |        Lifetime / 4 s         |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type Reply struct {
	Status   mobility.Status
	Flags    ReplyFlags
	Sequence uint16            // that of the Request
	Lifetime mobility.Lifetime // granted, never more than asked
}

func (r *Reply) parse(b []byte) {
	r.Status, r.Flags = mobility.Status(b[6]), ReplyFlags(b[7])
	r.Sequence = binary.BigEndian.Uint16(b[8:])
	r.Lifetime = mobility.Lifetime(binary.BigEndian.Uint16(b[10:]))
}

func (r *Reply) put(b []byte) {
	b[6], b[7] = byte(r.Status), byte(r.Flags)
	binary.BigEndian.PutUint16(b[8:], r.Sequence)
	binary.BigEndian.PutUint16(b[10:], uint16(r.Lifetime))
}
