package flower

import (
	"bytes"
	"fmt"
	"slices"
	"time"
)

// Status is a filter as the kernel holds it, of whatever classifier.
type Status struct {
	// Filter is what it says, as far as a Filter can say it. Of another
	// classifier than flower: port, chain, priority, handle, and the two flags.
	Filter
	Kind     string // "flower", "bpf", "matchall", ...
	Name     string // of a bpf filter's program; "" = none
	Protocol uint16 // of Ethernet, host order; 3 = all (ETH_P_ALL)

	InHW      bool   // hardware has it, says its flag
	InHWCount uint32 // how many devices have it, where CountTold
	CountTold bool

	// Counters are those of the last action: what came to the filter's end, in
	// software and hardware together. Software counts bytes from the network
	// header on, hardware as its driver does.
	Packets, Bytes     uint64
	HWPackets, HWBytes uint64 // by hardware alone, where HWTold
	HWTold             bool
	// Idle is the time since the last packet, to 10 ms; no meaning where
	// Packets is 0.
	Idle time.Duration

	// Beyond names what it says and a Filter cannot: nobody here wrote that.
	Beyond []string
}

// Offloaded reports whether hardware has the filter: the flag, and at least one
// device where the kernel counts them.
func (s Status) Offloaded() bool { return s.InHW && (!s.CountTold || s.InHWCount > 0) }

// Hardware reports whether hardware forwards by the filter: it has it, and its
// counters move. A filter of which the kernel tells hardware's packets apart, and
// that has taken packets in software only, is forwarded by in software, whatever
// its flag says. Before the first packet the flag is all there is.
func (s Status) Hardware() bool {
	return s.Offloaded() && (!s.HWTold || s.Packets == 0 || s.HWPackets > 0)
}

// Holds reports whether the kernel's filter says what f says and nothing else,
// at the same place. Where f.Handle is 0, any handle will do.
func (s Status) Holds(f Filter) bool {
	if s.Kind != kindFlower || len(s.Beyond) > 0 || f.Handle != 0 && f.Handle != s.Handle {
		return false
	}
	switch g := s.Filter; {
	case g.Port != f.Port, g.Chain != f.Chain, g.Priority != f.Priority, g.protocol() != f.protocol():
		return false
	case g.Match != f.Match, g.SkipHW != f.SkipHW, g.SkipSW != f.SkipSW, !bytes.Equal(g.Cookie, f.Cookie):
		return false
	}
	return slices.Equal(s.Actions, f.Actions)
}

func (s *Status) beyond(format string, args ...any) {
	s.Beyond = append(s.Beyond, fmt.Sprintf(format, args...))
}
