package wire

import "encoding/binary"

// RevocationKind tells an indication from its acknowledgement.
type RevocationKind uint8

// Kinds of a Revocation (RFC 5846 section 5).
const (
	RevocationIndication RevocationKind = 1
	RevocationAck        RevocationKind = 2
)

// RevocationFlags are the flags of a Revocation.
type RevocationFlags uint16

// RevocationProxy is the P flag: the binding is a proxy's.
const RevocationProxy RevocationFlags = 0x8000

// Revocation is the fixed part of a Binding Revocation message (RFC 5846
// sections 5.1 and 5.2), from byte 6:
//
//	                                +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	                                |     Kind      | Trig./Status  |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|           Sequence #          |P|V|G|        Reserved         |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type Revocation struct {
	Kind     RevocationKind
	Code     uint8 // an indication's trigger, an acknowledgement's status
	Sequence uint16
	Flags    RevocationFlags
}

func (r *Revocation) parse(b []byte) {
	r.Kind, r.Code = RevocationKind(b[6]), b[7]
	r.Sequence = binary.BigEndian.Uint16(b[8:])
	r.Flags = RevocationFlags(binary.BigEndian.Uint16(b[10:]))
}

func (r *Revocation) put(b []byte) {
	b[6], b[7] = byte(r.Kind), r.Code
	binary.BigEndian.PutUint16(b[8:], r.Sequence)
	binary.BigEndian.PutUint16(b[10:], uint16(r.Flags))
}
