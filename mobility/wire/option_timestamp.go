package wire

import "encoding/binary"

// Timestamp gives the Timestamp option (RFC 5213 section 8.8). Alignment 8n+2.
//
//	                                +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	                                |   Type = 27   |   Length = 8  |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|             Seconds since 1970-01-01 00:00 UTC,               |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|            48 bits            |     Fraction, 1/65536 s       |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
func (m *Message) Timestamp() (Timestamp, bool) {
	d, ok := m.Raw(OptTimestamp)
	if !ok {
		return 0, false
	}
	return Timestamp(binary.BigEndian.Uint64(d)), true
}

// AddTimestamp adds the Timestamp option. A Reply repeats the Request's, bit by
// bit, or carries the management node's clock (status 156, 157).
func (m *Message) AddTimestamp(t Timestamp) {
	binary.BigEndian.PutUint64(m.add(OptTimestamp, 8), uint64(t))
}
