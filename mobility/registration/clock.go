package registration

import (
	"time"

	"github.com/dpmip/dpmip/mobility/wire"
)

// clock is what the Node takes for the time: its own, or the management node's
// as far as it knows it. The own clock of the system is never stepped.
type clock struct {
	master bool // the management node's: the offset stays 0
	offset Offset
	synced bool // the offset was measured at least once
	last   wire.Timestamp
	limit  time.Duration // largest change after the first measurement
}

// read gives the time that timestamps of peers are compared with. The management
// node's never goes back: while its system clock is behind the last timestamp it
// gave, it stands still.
func (c *clock) read(now time.Time) wire.Timestamp {
	t := wire.TimestampOf(now.Add(c.offset))
	if c.master {
		return max(t, c.last)
	}
	return t
}

// stamp gives the timestamp of a message to be sent: newer than any before, as
// long as the offset stays.
func (c *clock) stamp(now time.Time) wire.Timestamp {
	c.last = max(wire.TimestampOf(now.Add(c.offset)), c.last+1)
	return c.last
}

// raise makes the next stamp newer than t, which a peer has seen from us before
// (status 157), unless t lies absurdly far ahead.
func (c *clock) raise(now time.Time, t wire.Timestamp) {
	if t > c.last && t.Time().Sub(now.Add(c.offset)) <= c.limit {
		c.last = t
	}
}

// measure takes the management node's time out of an authenticated answer that
// echoed its nonce: sent at sent, received at now. The true offset lies between
// peer-now and peer-sent. The one we have (0 at first) is kept when it is
// consistent with that, so that a slow answer spoils nothing. changed is also
// true for the first measurement.
func (c *clock) measure(sent, now time.Time, peer time.Time) (changed, clamped bool) {
	if c.master {
		return false, false
	}
	const unit = time.Second >> 16
	first := !c.synced
	c.synced = true
	rtt := max(now.Sub(sent), 0)
	low := peer.Sub(now.Round(0))
	if c.offset >= low-unit && c.offset <= low+rtt+unit {
		return first, false
	}
	to := low + rtt/2
	if !first {
		bounded := min(max(to, c.offset-c.limit), c.offset+c.limit)
		to, clamped = bounded, bounded != to
	}
	c.offset = to
	// Stamps of the wrong time must not hold back those of the right one. What
	// the management node did accept it tells by status 157; see raise.
	c.last = 0
	return true, clamped
}

// within reports whether two timestamps are at most window apart.
func within(a, b wire.Timestamp, window time.Duration) bool {
	d := max(a, b) - min(a, b)
	return d <= wire.TimestampOf(time.Unix(0, 0).Add(window))
}

// measure feeds the clock and tells of a change.
func (n *Node) measure(sent, now time.Time, peer wire.Timestamp, out []Effect) []Effect {
	changed, clamped := n.clock.measure(sent, now, peer.Time())
	if clamped {
		out = count(out, CountOffsetClamped)
	}
	if changed {
		out = append(out, ClockOffset{Offset: n.clock.offset})
	}
	return out
}
