package wire

import (
	"encoding/binary"

	"github.com/dpmip/dpmip/mobility"
)

// RefreshAdvice gives the Binding Refresh Advice option (RFC 6275 section
// 6.2.4): after how long the peer should refresh. Alignment 2n.
//
//	                                +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	                                |   Type = 2    |   Length = 2  |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|     Refresh Interval / 4 s    |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
func (m *Message) RefreshAdvice() (mobility.Lifetime, bool) {
	d, ok := m.Raw(OptRefreshAdvice)
	if !ok {
		return 0, false
	}
	return mobility.Lifetime(binary.BigEndian.Uint16(d)), true
}

// AddRefreshAdvice adds the Binding Refresh Advice option.
func (m *Message) AddRefreshAdvice(l mobility.Lifetime) {
	binary.BigEndian.PutUint16(m.add(OptRefreshAdvice, 2), uint16(l))
}
