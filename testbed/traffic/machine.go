package traffic

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// MachineDrops is how many frames the machine has dropped because a CPU's queue
// between two links (net.core.netdev_max_backlog, 1000 frames) was full, in all
// namespaces together. A run during which it grows has lost packets to the
// machine, not to what it tests.
func MachineDrops() (uint64, error) {
	b, err := os.ReadFile("/proc/net/softnet_stat")
	if err != nil {
		return 0, fmt.Errorf("traffic: %w", err)
	}
	var sum uint64
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			return 0, fmt.Errorf("traffic: softnet_stat: line %q", line)
		}
		n, err := strconv.ParseUint(f[1], 16, 64)
		if err != nil {
			return 0, fmt.Errorf("traffic: softnet_stat: %w", err)
		}
		sum += n
	}
	return sum, nil
}
