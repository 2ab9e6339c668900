package detect

import (
	"fmt"

	"github.com/dpmip/dpmip/hwabstraction"
)

// Where the slow path stands: behind the fast path in chain 0, and in a chain of
// its own for what misses in the fast path's chains.
const (
	slowPriority = 100
	slowChain    = 1
)

// openSwitchdev puts the fast path in front of h.Device. Where that cannot be
// done and the backend was not asked for by name, the slow path is left alone:
// it carries out the whole contract.
func (h *Hardware) openSwitchdev(c Config) error {
	err := fmt.Errorf("detect: the switchdev backend is not part of this release: %w", hwabstraction.ErrNotSupported)
	if c.Backend == Switchdev {
		return err
	}
	c.Log.Warn("no fast path: rules stay in software", "err", err)
	h.Choice.Backend, h.Choice.Reasons = Software, append([]string{err.Error()}, h.Choice.Reasons...)
	return nil
}
