package software

import (
	"testing"

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
				return haltest.NewNamespaceRig(t, func(e haltest.Env) (hwabstraction.Device, error) {
					return Open(Config{
						NetNS: e.NetNS, BPFDir: e.BPFFS, Fabric: []string{e.Fabric}, Attach: tt.attach, Place: tt.place,
						MaxRules: 1024, MaxFlows: 1024,
					})
				})
			})
		})
	}
}
