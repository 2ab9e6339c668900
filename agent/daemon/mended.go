package daemon

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/internal/admin"
)

// WatchMended adds what a device has put back that others had taken away, if it
// looks after that.
func WatchMended(reg *prometheus.Registry, d hwabstraction.Device) {
	if m, ok := d.(hwabstraction.Mender); ok {
		reg.MustRegister(admin.Counters("dpmip_agent_device_mended_total",
			"What others had taken away beneath the rules and the device has put back, by what it is.", m.Mended))
	}
}
