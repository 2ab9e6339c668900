package scenario

import (
	"testing"
	"time"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/testbed/result"
	"github.com/dpmip/dpmip/testbed/traffic"
)

// TestLossy: what the endpoints counted stands; order and time do not make it a
// loss.
func TestLossy(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		move result.Move
		want bool
	}{
		"whole":             {result.Move{UDP: result.UDP{Sent: 9, Received: 9}, TCP: result.TCP{Connections: 2, Survived: 2}}, false},
		"late":              {result.Move{UDP: result.UDP{Reordered: 3}, TCP: result.TCP{Timeouts: 1}}, false},
		"a datagram lost":   {result.Move{UDP: result.UDP{Sent: 9, Received: 8, Lost: 1}}, true},
		"a datagram twice":  {result.Move{UDP: result.UDP{Duplicated: 1}}, true},
		"a connection lost": {result.Move{TCP: result.TCP{Connections: 2, Survived: 1}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := lossy(&result.Run{Moves: []result.Move{{}, tc.move}}); got != tc.want {
				t.Errorf("lossy: %v, want %v", got, tc.want)
			}
		})
	}
}

// TestStalledBy: a try that nobody gave up in time is the lab's fault; one that
// was given up in time, or refused, is not.
func TestStalledBy(t *testing.T) {
	t.Parallel()
	const timeout = 400 * time.Millisecond
	ok := traffic.Attempt{Outcome: traffic.Accepted, Took: time.Millisecond}
	inTime, tooLate := traffic.Attempt{Outcome: traffic.Unanswered, Took: timeout + time.Millisecond}, traffic.Attempt{Outcome: traffic.Unanswered, Took: timeout + 2*stall}
	for name, tc := range map[string]struct {
		tries  []traffic.Attempt
		policy mobility.NewConnections
		want   bool
	}{
		"all accepted":            {[]traffic.Attempt{ok, ok}, mobility.PolicyRedirect, false},
		"given up late":           {[]traffic.Attempt{tooLate, ok}, mobility.PolicyRedirect, true},
		"given up in time":        {[]traffic.Attempt{ok, inTime}, mobility.PolicyRedirect, false},
		"one late, one in time":   {[]traffic.Attempt{tooLate, inTime}, mobility.PolicyRedirect, false},
		"refused":                 {[]traffic.Attempt{tooLate, {Outcome: traffic.Refused, Took: 2 * timeout}}, mobility.PolicyRedirect, false},
		"no answer is as must be": {[]traffic.Attempt{tooLate}, mobility.PolicyDrop, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := stalledBy(tc.tries, timeout, tc.policy) != ""; got != tc.want {
				t.Errorf("stalled: %v, want %v", got, tc.want)
			}
		})
	}
}
