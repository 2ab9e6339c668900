package traffic

import "time"

// Missing is a datagram that did not arrive.
type Missing struct {
	Direction Direction
	Number    uint64
	After     time.Duration // when the last one before it that arrived was sent; 0 = none
}

// Missing lists the first few datagrams between two marks that did not arrive,
// for people who look for the reason. Only after Stop.
func (s *Stream) Missing(from, to Mark, limit int) (out []Missing) {
	<-s.stopped
	for i, dir := range []Direction{AToB, BToA} {
		seen := map[uint64]time.Duration{}
		for _, a := range s.recv[1-i].arrivals {
			seen[a.seq] = a.at - a.latency
		}
		var last time.Duration
		for n := from.next[i]; n < to.next[i] && len(out) < limit; n++ {
			if at, ok := seen[n]; ok {
				last = at
				continue
			}
			out = append(out, Missing{dir, n, last})
		}
	}
	return out
}
