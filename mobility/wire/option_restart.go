package wire

import "encoding/binary"

// RestartCounter gives the Restart Counter option (RFC 5847 section 3.4), in a
// heartbeat response. Alignment 4n+2.
//
//	                                +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	                                |   Type = 28   |   Length = 4  |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                        Restart Counter                        |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
func (m *Message) RestartCounter() (uint32, bool) {
	d, ok := m.Raw(OptRestartCounter)
	if !ok {
		return 0, false
	}
	return binary.BigEndian.Uint32(d), true
}

// AddRestartCounter adds the Restart Counter option.
func (m *Message) AddRestartCounter(n uint32) {
	binary.BigEndian.PutUint32(m.add(OptRestartCounter, 4), n)
}
