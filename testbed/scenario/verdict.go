package scenario

import (
	"fmt"

	"github.com/dpmip/dpmip/testbed/result"
)

// Problems judges a run by what the endpoints counted: every packet arrived
// once, every connection lives, nothing waited for a TCP time-out.
func Problems(r *result.Run) []string {
	var out []string
	for i, m := range r.Moves {
		at := fmt.Sprintf("move %d (%s -> %s)", i+1, m.From, m.To)
		if m.UDP.Sent == 0 {
			out = append(out, at+": no datagram was sent")
		}
		for _, c := range []struct {
			n    uint64
			what string
		}{
			{m.UDP.Lost, "datagrams lost"}, {m.UDP.Duplicated, "datagrams duplicated"}, {m.UDP.Reordered, "datagrams reordered"},
			{uint64(m.TCP.Connections - m.TCP.Survived), "connections lost"}, {m.TCP.Timeouts, "TCP time-outs"},
		} {
			if c.n != 0 {
				out = append(out, fmt.Sprintf("%s: %d %s", at, c.n, c.what))
			}
		}
	}
	return out
}
