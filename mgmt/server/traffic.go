package server

import (
	"context"
	"net/netip"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/mgmt"
)

// maxSamples bounds one report of traffic.
const maxSamples = 4096

// ReportTraffic takes what a hypervisor has counted. Samples of VMs that it does
// not serve, any more or yet, are of no use and no error.
func (s *Service) ReportTraffic(ctx context.Context, r *connect.Request[v1.ReportTrafficRequest]) (*connect.Response[v1.ReportTrafficResponse], error) {
	if n := len(r.Msg.GetSamples()); n > maxSamples {
		return nil, badArgument("samples: %d, at most %d", n, maxSamples)
	}
	if err := mayReport(ctx, r.Msg.GetHypervisor()); err != nil {
		return nil, err
	}
	e := mgmt.Traffic{Hypervisor: r.Msg.GetHypervisor()}
	for i, x := range r.Msg.GetSamples() {
		vm, err := vmOf(x.GetVm())
		if err != nil {
			return nil, err
		}
		a, err := netip.ParseAddr(x.GetAddress())
		if err != nil {
			return nil, badArgument("samples[%d].address: %q is no address", i, x.GetAddress())
		}
		if x.GetOverNs() <= 0 {
			return nil, badArgument("samples[%d].over_ns: %d: want a time", i, x.GetOverNs())
		}
		e.Samples = append(e.Samples, mgmt.TrafficSample{VM: vm, Addr: a.Unmap(), Packets: x.GetPackets(), Over: time.Duration(x.GetOverNs())})
	}
	known := false
	err := s.Loop.Do(ctx, func(c *mgmt.Core) {
		if known = c.Inventory().Hypervisors[e.Hypervisor] != nil; known {
			s.Loop.step(e)
		}
	})
	if err == nil && !known {
		return nil, badArgument("hypervisor: no hypervisor is called %q", e.Hypervisor)
	}
	return connect.NewResponse(&v1.ReportTrafficResponse{}), failure(err)
}
