package scenario

import (
	"testing"

	"github.com/dpmip/dpmip/testbed/result"
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
