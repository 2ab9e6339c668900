package scenario

import (
	"testing"
	"time"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/testbed/result"
	"github.com/dpmip/dpmip/testbed/topology"
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

// TestOvertaken: datagrams that are overtaken are a matter of time where the move
// makes their way shorter, and else of the release of what was held.
func TestOvertaken(t *testing.T) {
	t.Parallel()
	dc := &DataCentre{Lab: &topology.Lab{Plan: topology.Standard()}}
	vm, _ := dc.Lab.Plan.VM(mover)
	for name, tc := range map[string]struct {
		to, problem string
		redirect    mobility.RedirectMode
		want        bool
	}{
		"home":                {topology.HVA, "2 " + overtaken, mobility.RedirectTranslated, false},
		"away":                {topology.HVC, "2 " + overtaken, mobility.RedirectTranslated, true},
		"routed":              {topology.HVC, "2 " + overtaken, mobility.RedirectRouted, false},
		"home, and lost":      {topology.HVA, "2 datagrams lost", mobility.RedirectTranslated, true},
		"away, and a timeout": {topology.HVC, "1 " + timeouts, mobility.RedirectTranslated, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := &move{n: 1, from: topology.HVB, to: tc.to, before: vm.Addr.Both()}
			r := &run{o: &Options{Redirect: tc.redirect}, dc: dc, moves: []*move{m}}
			if got := r.stands(m.String() + ": " + tc.problem); got != tc.want {
				t.Errorf("it stands: %v, want %v", got, tc.want)
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
