package software

import (
	"testing"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/haltest"
)

func TestConformance(t *testing.T) {
	for _, attach := range []Attach{AttachTCX, AttachClsBPF} {
		t.Run(attach.String(), func(t *testing.T) {
			haltest.Run(t, func(t *testing.T) haltest.Rig {
				return haltest.NewNamespaceRig(t, func(e haltest.Env) (hwabstraction.Device, error) {
					return Open(Config{NetNS: e.NetNS, BPFDir: e.BPFFS, Fabric: []string{e.Fabric}, Attach: attach, MaxRules: 1024, MaxFlows: 1024})
				})
			})
		})
	}
}
