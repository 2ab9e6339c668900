package software

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/hwabstraction"
)

func TestRoutePlacement(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		flags int
		want  hwabstraction.Placement
	}{
		{"no switch", 0, hwabstraction.PlacementKernelRoute},
		{"taken", unix.RTM_F_OFFLOAD, hwabstraction.PlacementHardwareStateless},
		{"trapped", unix.RTM_F_TRAP, hwabstraction.PlacementKernelRoute},
		{"taken, but trapped", unix.RTM_F_OFFLOAD | unix.RTM_F_TRAP, hwabstraction.PlacementKernelRoute},
		{"refused", unix.RTM_F_OFFLOAD_FAILED, hwabstraction.PlacementKernelRoute},
		{"taken before, now refused", unix.RTM_F_OFFLOAD | unix.RTM_F_OFFLOAD_FAILED, hwabstraction.PlacementKernelRoute},
	} {
		if got := routePlacement(c.flags); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
