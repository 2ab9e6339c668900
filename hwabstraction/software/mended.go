package software

import (
	"maps"
	"sync"
)

// What is mended, as Mended names it.
const (
	mendedProgram  = "program"     // on a port
	mendedPin      = "pin"         // of a map or a program
	mendedPort     = "port"        // rules of a port that was made anew
	mendedFabric   = "fabric_port" // one that was made anew
	mendedPolicy   = "policy_rule" // of routing
	mendedRoute    = "route"       // of a rule, a VM's address or an MTU
	mendedFirewall = "netfilter"   // the table dpmip
)

// tally counts what was mended. mu guards n.
type tally struct {
	mu sync.Mutex
	n  map[string]uint64
}

func newTally() *tally {
	n := map[string]uint64{}
	for _, what := range []string{mendedProgram, mendedPin, mendedPort, mendedFabric, mendedPolicy, mendedRoute, mendedFirewall} {
		n[what] = 0
	}
	return &tally{n: n}
}

func (t *tally) add(what string, n int) {
	t.mu.Lock()
	t.n[what] += uint64(n)
	t.mu.Unlock()
}

// Mended implements hwabstraction.Mender.
func (d *Device) Mended() map[string]uint64 {
	d.mended.mu.Lock()
	defer d.mended.mu.Unlock()
	return maps.Clone(d.mended.n)
}
