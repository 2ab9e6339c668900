package flower

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"
)

// Attributes of an action's statistics, TCA_STATS_*.
const (
	statsBasic   = 1
	statsBasicHW = 7
	statsPacket  = 8 // 64 bits, where 32 are too few; after the basic ones it counts
)

// tick is that of clock_t, USER_HZ: what the kernel tells times in.
const tick = 10 * time.Millisecond

// readActions reads the list of actions, which are numbered from 1.
func (s *Status) readActions(b []byte) error {
	var list [maxActions + 1][]byte
	last := 0
	err := attributes(b, func(a attribute) error {
		n := int(a.typ)
		if n == 0 || n > maxActions {
			s.beyond("action number %d", n)
			return nil
		}
		list[n], last = a.data, max(last, n)
		return nil
	})
	if err != nil {
		return fmt.Errorf("actions: %w", err)
	}
	for i := 1; i <= last; i++ {
		if err := s.readAction(list[i], i == last); err != nil {
			return fmt.Errorf("action %d: %w", i, err)
		}
	}
	return nil
}

func (s *Status) readAction(b []byte, last bool) error {
	var kind string
	var opts, stats, cookie []byte
	if err := attributes(b, func(a attribute) error {
		switch a.typ {
		case actKind:
			kind = a.text()
		case actOptions:
			opts = a.data
		case actStats:
			stats = a.data
		case actCookie:
			cookie = a.data
		}
		return nil
	}); err != nil {
		return err
	}
	switch {
	case last:
		s.Cookie = bytes.Clone(cookie)
		if err := s.readStats(stats); err != nil {
			return fmt.Errorf("%s: statistics: %w", kind, err)
		}
	case cookie != nil:
		s.beyond("a cookie of the action %s", kind)
	}
	var o options
	if err := o.read(opts); err != nil {
		return fmt.Errorf("%s: %w", kind, err)
	}
	a := o.action(kind, s.IPv4)
	if a == nil || !o.empty() {
		s.beyond("action %s", kind)
	}
	if a != nil {
		s.Actions = append(s.Actions, a)
	}
	if last {
		s.Idle = o.idle
	}
	return nil
}

// readStats reads counters; a number of another size than the kernel's is
// passed over.
func (s *Status) readStats(b []byte) error {
	total := true // which of the two a 64-bit number of packets belongs to
	return attributes(b, func(a attribute) error {
		v := a.data
		switch t := a.typ; {
		case (t == statsBasic || t == statsBasicHW) && len(v) >= 12: // struct gnet_stats_basic
			total = t == statsBasic
			bytes, packets := binary.NativeEndian.Uint64(v), uint64(binary.NativeEndian.Uint32(v[8:]))
			if total {
				s.Bytes, s.Packets = bytes, packets
			} else {
				s.HWBytes, s.HWPackets, s.HWTold = bytes, packets, true
			}
		case t == statsPacket && len(v) == 8:
			if packets := binary.NativeEndian.Uint64(v); total {
				s.Packets = packets
			} else {
				s.HWPackets = packets
			}
		}
		return nil
	})
}
