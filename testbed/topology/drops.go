package topology

import "github.com/dpmip/dpmip/testbed/traffic"

// Drops is how many frames the lab's own machinery has dropped so far: full
// rings and queues of its links, and full CPU queues of the machine (where other
// programs count too). Nobody decided on these losses; a run during which the
// figure grows proves nothing and is to be repeated.
func (l *Lab) Drops() (uint64, error) {
	sum, err := traffic.MachineDrops()
	for _, n := range l.nodes {
		if err != nil {
			return 0, err
		}
		var drops uint64
		drops, err = n.NS.LinkDrops()
		sum += drops
	}
	return sum, err
}
