package software

import (
	"testing"
	"time"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/haltest"
)

// behind is where the filters are when a fast path stands in front of them.
var behind = Place{Priority: 0xc000, Chain: 7}

func TestConformance(t *testing.T) {
	for _, tt := range []struct {
		name   string
		attach Attach
		place  Place
	}{
		{"tcx", AttachTCX, Place{}},
		{"cls_bpf", AttachClsBPF, Place{}},
		{"behind", AttachClsBPF, behind},
	} {
		t.Run(tt.name, func(t *testing.T) {
			haltest.Run(t, func(t *testing.T) haltest.Rig {
				var last *Device
				return haltest.NewNamespaceRig(t, func(e haltest.Env) (hwabstraction.Device, error) {
					if last != nil {
						last.Halt() // the process is dead
					}
					d, err := Open(Config{
						NetNS: e.NetNS, BPFDir: e.BPFFS, Fabric: []string{e.Fabric}, Attach: tt.attach, Place: tt.place,
						MaxRules: 1024, MaxFlows: 1024, Audit: 50 * time.Millisecond,
					})
					if err != nil {
						return nil, err
					}
					last = d
					t.Cleanup(func() { nothingMended(t, d) })
					return d, nil
				})
			})
		})
	}
}

// nothingMended: whatever is done to a device, its audits find nothing wrong that
// nobody has done.
func nothingMended(t *testing.T, d *Device) {
	t.Helper()
	for what, n := range d.Mended() {
		if n > 0 {
			t.Errorf("%s was mended %d times, and nobody had touched it", what, n)
		}
	}
}
