package traffic

import (
	"slices"
	"time"
)

// Flow is what one direction of a stream came to, between two marks. Sent is
// counted at the sender, everything else at the receiver, by number.
type Flow struct {
	Sent       uint64
	Received   uint64 // different numbers that arrived
	Lost       uint64 // Sent - Received
	Duplicated uint64 // arrivals of a number that had arrived before
	Reordered  uint64 // arrivals after a higher number (RFC 4737 type-P-reordered)
	Damaged    uint64 // datagrams that were not the stream's, whole run
	Refused    uint64 // sends and receives that failed with an ICMP error, whole run

	Blackout   time.Duration // largest time between two arrivals in a row
	BlackoutAt time.Duration // when it ended, clock.Now()
	Stall      time.Duration // how much of it the sender itself was late by (a busy machine), pauses excluded
	MaxLatency time.Duration // from send to arrival: the longest hold
}

// Add joins the flows of several streams or directions.
func (f Flow) Add(o Flow) Flow {
	f.Sent += o.Sent
	f.Received += o.Received
	f.Lost += o.Lost
	f.Duplicated += o.Duplicated
	f.Reordered += o.Reordered
	f.Damaged += o.Damaged
	f.Refused += o.Refused
	f.MaxLatency = max(f.MaxLatency, o.MaxLatency)
	if o.Blackout > f.Blackout {
		f.Blackout, f.BlackoutAt, f.Stall = o.Blackout, o.BlackoutAt, o.Stall
	}
	return f
}

// arrival is one datagram as the receiver saw it.
type arrival struct {
	at      time.Duration
	seq     uint64
	latency time.Duration
}

// slip is how late the sender was before sending seq, on its own account.
type slip struct {
	seq  uint64
	late time.Duration
}

// account compares the numbers first..last-1 that were sent with the arrivals
// of the whole run, which are in order of arrival.
func account(first, last uint64, arrivals []arrival, slips []slip) Flow {
	f := Flow{Sent: last - first}
	seen := make([]bool, last-first)
	var prev *arrival
	var top uint64 // one above the highest number of the window that arrived
	for i := range arrivals {
		a := &arrivals[i]
		if a.seq < first || a.seq >= last {
			continue
		}
		switch {
		case seen[a.seq-first]:
			f.Duplicated++
		case a.seq < top:
			f.Reordered++
			fallthrough
		default:
			f.Received++
		}
		seen[a.seq-first] = true
		top = max(top, a.seq+1)
		f.MaxLatency = max(f.MaxLatency, a.latency)
		if prev != nil && a.at-prev.at > f.Blackout {
			f.Blackout, f.BlackoutAt = a.at-prev.at, a.at
			f.Stall = lateBetween(slips, prev.seq, a.seq)
		}
		prev = a
	}
	f.Lost = f.Sent - f.Received
	return f
}

// lateBetween sums the slips of the numbers after a up to b.
func lateBetween(slips []slip, a, b uint64) (sum time.Duration) {
	i, _ := slices.BinarySearchFunc(slips, a+1, func(s slip, n uint64) int {
		switch {
		case s.seq < n:
			return -1
		case s.seq > n:
			return 1
		}
		return 0
	})
	for ; i < len(slips) && slips[i].seq <= b; i++ {
		sum += slips[i].late
	}
	return sum
}
