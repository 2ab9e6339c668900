package daemon

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/haltest"
)

// mender is a device that has put things back.
type mender struct {
	hwabstraction.Device
	n map[string]uint64
}

func (d mender) Mended() map[string]uint64 { return d.n }

func TestMended(t *testing.T) {
	t.Parallel()
	dev := haltest.NewChaos(haltest.Plan{})
	for _, tt := range []struct {
		name string
		dev  hwabstraction.Device
		want map[string]float64
	}{
		{"of a device that mends", mender{dev, map[string]uint64{"program": 2, "route": 0}}, map[string]float64{
			"dpmip_agent_device_mended_total program": 2, "dpmip_agent_device_mended_total route": 0,
		}},
		{"of any other", dev, map[string]float64{}},
	} {
		reg := prometheus.NewRegistry()
		WatchMended(reg, tt.dev)
		if diff := cmp.Diff(tt.want, gathered(t, reg)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}
