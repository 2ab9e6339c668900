package wire

import "encoding/binary"

const (
	authSubtype  = 1 // MN-HA (RFC 4285 section 5.1), the only one used
	authHeadLen  = 5 // subtype and SPI
	authOptStart = 2 + authHeadLen
)

// Authentication is the Mobility Message Authentication option (RFC 4285
// section 5), the last of its message. Alignment 4n+1; a sender places it so
// that it ends the message.
//
//	                                +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	                                |   Type = 9    | Length = 5+n  |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|    Subtype    |                      SPI                      :
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	:               |   Authenticator, n bytes ...
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type Authentication struct {
	Subtype       uint8
	SPI           uint32
	Authenticator []byte // a view into the message when read
}

// Authentication gives the Authentication option: whose key to look up. Nothing
// in it is verified; see Key.Verify.
func (m *Message) Authentication() (Authentication, bool) {
	d, ok := m.Raw(OptAuthentication)
	if !ok {
		return Authentication{}, false
	}
	return Authentication{
		Subtype:       d[0],
		SPI:           binary.BigEndian.Uint32(d[1:]),
		Authenticator: d[authHeadLen:],
	}, true
}

// AddAuthentication adds an Authentication option as it is given, right or
// wrong; nothing can be added behind it. Senders use AppendSigned instead.
func (m *Message) AddAuthentication(a Authentication) {
	if len(a.Authenticator) > 255-authHeadLen {
		m.refuse(OptAuthentication, "authenticator too long")
		return
	}
	d := m.add(OptAuthentication, authHeadLen+len(a.Authenticator))
	d[0] = a.Subtype
	binary.BigEndian.PutUint32(d[1:], a.SPI)
	copy(d[authHeadLen:], a.Authenticator)
}
