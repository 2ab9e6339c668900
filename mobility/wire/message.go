package wire

import (
	"encoding/binary"
	"iter"
	"net/netip"
)

const (
	// MaxLen is the largest Mobility Header in bytes: 256 units of eight. With
	// the profile's limits on slots and old addresses none passes 1232.
	MaxLen = 2048
	// Protocol is the IPv6 next header value of a Mobility Header.
	Protocol = 135

	minLen       = 8
	payloadProto = 59 // IPPROTO_NONE
	checksumOff  = 4
)

// Message is one Mobility Header message, parsed or built:
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	| Payload Proto |  Header Len   |   MH Type     |   Reserved    |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|           Checksum            |                               |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+      fixed part of Type       .
//	.                                                               .
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	.                        mobility options                       .
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//
// Of the fixed parts only the one that Type names means anything. They may be
// changed freely before Append. The zero Message is ready for Parse or Reset.
// After the first few messages a reused Message allocates nothing.
type Message struct {
	// Enterprise is the number under which our vendor options travel; 0 means
	// DefaultEnterprise. Set it once: Parse and Reset keep it.
	Enterprise uint32

	Type     Type
	Reserved uint8  // byte 3
	Checksum uint16 // as parsed; 0 in a built message. See SetChecksum

	Request            Request
	Reply              Reply
	BindingError       BindingError
	Heartbeat          Heartbeat
	Revocation         Revocation
	UpdateNotification UpdateNotification
	UpdateAck          UpdateAck

	buf    []byte // the message: the caller's bytes when parsed, own when built
	spans  []span // the options in buf, pads included
	seen   uint64 // bit t: an option of type t < 64 is present
	parsed bool   // buf is not ours
	own    []byte // the buffer of built messages
	err    error  // the first refusal of an Add method

	scratch [255]byte // what a refused Add writes to
}

// span places one option: data of len bytes at off in Message.buf.
type span struct {
	off uint16
	typ OptionType
	len uint8
}

// Reset empties the message and starts one of type t. Enterprise stays.
func (m *Message) Reset(t Type) {
	m.clear()
	m.Type = t
	m.own = append(m.own[:0], zeros[:t.fixedLen()]...)
	m.buf = m.own
}

var zeros [255]byte // never written

func (m *Message) clear() {
	m.Type, m.Reserved, m.Checksum = TypeInvalid, 0, 0
	m.Request, m.Reply, m.BindingError, m.Heartbeat = Request{}, Reply{}, BindingError{}, Heartbeat{}
	m.Revocation, m.UpdateNotification, m.UpdateAck = Revocation{}, UpdateNotification{}, UpdateAck{}
	m.buf, m.spans, m.seen, m.parsed, m.err = nil, m.spans[:0], 0, false, nil
}

// Parse reads one whole message. The Message refers to b from then on: it is
// valid as long as b is not changed. On an error, always an *Error, the Message
// is empty. The checksum is not looked at (see VerifyChecksum), nor are values:
// that an address is odd or a flag missing is for the reader to judge.
func (m *Message) Parse(b []byte) error {
	m.clear()
	if err := m.parse(b); err != nil {
		m.clear()
		return err
	}
	return nil
}

func (m *Message) parse(b []byte) error {
	if len(b) < minLen {
		return &Error{Kind: KindShortMessage, Got: len(b), Want: minLen}
	}
	t := Type(b[2])
	size, fixed := (int(b[1])+1)*8, t.fixedLen()
	switch {
	case b[0] != payloadProto:
		return &Error{Kind: KindPayloadProto, Type: t, Got: int(b[0]), Want: payloadProto}
	case len(b) < size:
		return &Error{Kind: KindShortMessage, Type: t, Got: len(b), Want: size}
	case len(b) > size:
		return &Error{Kind: KindTrailingBytes, Type: t, Got: len(b), Want: size}
	case fixed == 0:
		return &Error{Kind: KindUnknownType, Type: t}
	case size < fixed:
		return &Error{Kind: KindHeaderLength, Type: t, Got: size, Want: fixed}
	}
	m.Type, m.Reserved = t, b[3]
	m.Checksum = binary.BigEndian.Uint16(b[checksumOff:])
	m.parseFixed(b)
	m.buf, m.parsed = b, true
	return m.parseOptions(b, fixed)
}

func (m *Message) parseFixed(b []byte) {
	switch m.Type {
	case TypeRequest:
		m.Request.parse(b)
	case TypeReply:
		m.Reply.parse(b)
	case TypeBindingError:
		m.BindingError.parse(b)
	case TypeHeartbeat:
		m.Heartbeat.parse(b)
	case TypeRevocation:
		m.Revocation.parse(b)
	case TypeUpdateNotification:
		m.UpdateNotification.parse(b)
	case TypeUpdateAck:
		m.UpdateAck.parse(b)
	}
}

func (m *Message) putFixed(b []byte) {
	switch m.Type {
	case TypeRequest:
		m.Request.put(b)
	case TypeReply:
		m.Reply.put(b)
	case TypeBindingError:
		m.BindingError.put(b)
	case TypeHeartbeat:
		m.Heartbeat.put(b)
	case TypeRevocation:
		m.Revocation.put(b)
	case TypeUpdateNotification:
		m.UpdateNotification.put(b)
	case TypeUpdateAck:
		m.UpdateAck.put(b)
	}
}

func (m *Message) parseOptions(b []byte, off int) error {
	authed := false
	for off < len(b) {
		t := OptionType(b[off])
		if authed {
			return m.optionError(KindOptionAfterAuth, t, off, 0, 0)
		}
		if t == OptPad1 {
			m.spans = append(m.spans, span{off: uint16(off), typ: t})
			off++
			continue
		}
		if len(b)-off < 2 {
			return m.optionError(KindOptionOverrun, t, off, 1, 2)
		}
		n, start := int(b[off+1]), off+2
		switch {
		case len(b)-start < n:
			return m.optionError(KindOptionOverrun, t, off, len(b)-start, n)
		case n < int(optionTable[t].min):
			return m.optionError(KindOptionShort, t, off, n, int(optionTable[t].min))
		case optionTable[t].once && m.has(t):
			return m.optionError(KindOptionDuplicate, t, off, 0, 0)
		case t == OptVendor:
			want := m.vendorMin(binary.BigEndian.Uint32(b[start:]), VendorSubtype(b[start+4]))
			if n < want {
				return m.optionError(KindOptionShort, t, off, n, want)
			}
		}
		authed = t == OptAuthentication
		m.note(t)
		m.spans = append(m.spans, span{off: uint16(start), typ: t, len: uint8(n)})
		off = start + n
	}
	return nil
}

func (m *Message) optionError(k Kind, t OptionType, off, got, want int) error {
	return &Error{Kind: k, Type: m.Type, Option: t, Offset: off, Got: got, Want: want}
}

// Append writes the message to the end of dst and returns the longer slice. A
// built message is padded to a multiple of eight bytes. It fails with the first
// error that an Add method met, or when the message is too long.
func (m *Message) Append(dst []byte) ([]byte, error) {
	out, err := m.appendBody(dst)
	if err != nil {
		return dst, err
	}
	out = appendPad(out, -(len(out)-len(dst))&7)
	if err := m.finish(out[len(dst):], 0); err != nil {
		return dst, err
	}
	return out, nil
}

// appendBody writes fixed part and options, without the final pad.
func (m *Message) appendBody(dst []byte) ([]byte, error) {
	if m.err != nil {
		return dst, m.err
	}
	fixed := m.Type.fixedLen()
	if fixed == 0 {
		return dst, &Error{Kind: KindUnencodable, Type: m.Type, Detail: "cannot encode a message of " + m.Type.String()}
	}
	base := len(dst)
	dst = append(dst, zeros[:fixed]...)
	b := dst[base:]
	b[0], b[2], b[3] = payloadProto, byte(m.Type), m.Reserved
	binary.BigEndian.PutUint16(b[checksumOff:], m.Checksum)
	m.putFixed(b)
	for _, s := range m.spans {
		if s.typ == OptPad1 {
			dst = append(dst, 0)
			continue
		}
		dst = append(dst, byte(s.typ), s.len)
		dst = append(dst, m.data(s)...)
	}
	return dst, nil
}

// finish sets the header length of b, to which more bytes will be added.
func (m *Message) finish(b []byte, more int) error {
	n := len(b) + more
	if n > MaxLen {
		return &Error{Kind: KindMessageTooLong, Type: m.Type, Got: n, Want: MaxLen}
	}
	b[1] = byte(n/8 - 1)
	return nil
}

// IsAnswer reports whether the message answers another one: a Reply, a Binding
// Error, a heartbeat response or an acknowledgement.
func (m *Message) IsAnswer() bool {
	switch m.Type {
	case TypeReply, TypeBindingError, TypeUpdateAck:
		return true
	case TypeHeartbeat:
		return m.Heartbeat.Flags&HeartbeatResponse != 0
	case TypeRevocation:
		return m.Revocation.Kind == RevocationAck
	}
	return false
}

// CareOf gives the care-of address that the authenticator covers: the Alternate
// Care-of Address option if there is one, else the source of a request, the
// destination of an answer. src and dst are those of the packet.
func (m *Message) CareOf(src, dst netip.Addr) netip.Addr {
	if a, ok := m.AlternateCareOf(); ok {
		return a
	}
	if m.IsAnswer() {
		return dst
	}
	return src
}

// Options gives every option in its order, pads included. The data is a view
// into the message.
func (m *Message) Options() iter.Seq[Option] {
	return func(yield func(Option) bool) {
		for _, s := range m.spans {
			if !yield(Option{Type: s.typ, Data: m.data(s)}) {
				return
			}
		}
	}
}

func (m *Message) data(s span) []byte {
	end := int(s.off) + int(s.len)
	return m.buf[s.off:end:end]
}
