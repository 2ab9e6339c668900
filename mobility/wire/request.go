package wire

import (
	"encoding/binary"

	"github.com/dpmip/dpmip/mobility"
)

// RequestFlags are the flags of a Request.
type RequestFlags uint16

// Flags of a Request; a sender sets both.
const (
	RequestAck   RequestFlags = 0x8000 // A: an answer is wanted
	RequestProxy RequestFlags = 0x0200 // P: sent by a proxy (RFC 5213 section 8.1)
)

// Request is the fixed part of a Registration Request, a Proxy Binding Update
// (RFC 5213 section 8.1), from byte 6:
//
//	                                +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	                                |           Sequence #          |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|A|H|L|K|M|R|P|    Reserved     |        Lifetime / 4 s         |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type Request struct {
	Sequence uint16
	Flags    RequestFlags
	Lifetime mobility.Lifetime // 0 removes
}

func (r *Request) parse(b []byte) {
	r.Sequence = binary.BigEndian.Uint16(b[6:])
	r.Flags = RequestFlags(binary.BigEndian.Uint16(b[8:]))
	r.Lifetime = mobility.Lifetime(binary.BigEndian.Uint16(b[10:]))
}

func (r *Request) put(b []byte) {
	binary.BigEndian.PutUint16(b[6:], r.Sequence)
	binary.BigEndian.PutUint16(b[8:], uint16(r.Flags))
	binary.BigEndian.PutUint16(b[10:], uint16(r.Lifetime))
}
