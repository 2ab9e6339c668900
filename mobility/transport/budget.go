package transport

import "time"

// Rate is a token bucket's measure: so many a second, and so many at once. The
// zero Rate stands for its default, a negative PerSecond for no limit.
type Rate struct {
	PerSecond float64
	Burst     float64
}

// Limits are the budgets that each peer has of its own. What fails
// authentication and what passes never draw on the same one, so that a message
// that forges a peer's address cannot starve the peer.
type Limits struct {
	// Messages is what a peer's authentic messages may cost, default 50 000 a
	// second, 100 000 at once.
	Messages Rate
	// Failed is how many Requests that failed authentication, and messages of
	// unknown type, are looked at for an answer, default 10 a second, 20 at
	// once. The rest is counted and dropped.
	Failed Rate
}

func (l Limits) withDefaults() Limits {
	if l.Messages == (Rate{}) {
		l.Messages = Rate{PerSecond: 50_000, Burst: 100_000}
	}
	if l.Failed == (Rate{}) {
		l.Failed = Rate{PerSecond: 10, Burst: 20}
	}
	return l
}

// budget is what one peer has left.
type budget struct {
	messages, failed bucket
}

type bucket struct {
	tokens float64
	at     time.Time
}

func (b *bucket) take(now time.Time, r Rate) bool {
	if r.PerSecond < 0 {
		return true
	}
	if b.at.IsZero() {
		b.tokens = r.Burst
	} else if d := now.Sub(b.at); d > 0 {
		b.tokens = min(b.tokens+d.Seconds()*r.PerSecond, r.Burst)
	}
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
