package wire

import "encoding/binary"

// ReplayProtection gives the Mobility Message Replay Protection option (RFC 4285
// section 6). Alignment 8n+2.
//
//	                                +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	                                |   Type = 10   |   Length = 8  |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                  NTP timestamp: seconds                       |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                  NTP timestamp: fraction                      |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
func (m *Message) ReplayProtection() (NTPTime, bool) {
	d, ok := m.Raw(OptReplayProtection)
	if !ok {
		return 0, false
	}
	return NTPTime(binary.BigEndian.Uint64(d)), true
}

// AddReplayProtection adds the Replay Protection option.
func (m *Message) AddReplayProtection(t NTPTime) {
	binary.BigEndian.PutUint64(m.add(OptReplayProtection, 8), uint64(t))
}
