package server

import (
	"context"

	"connectrpc.com/connect"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/mgmt"
)

// ListNames lists what the DNS is to say, and whether it is known to.
func (s *Service) ListNames(ctx context.Context, r *connect.Request[v1.ListNamesRequest]) (*connect.Response[v1.ListNamesResponse], error) {
	out := &v1.ListNamesResponse{}
	err := s.Loop.Do(ctx, func(c *mgmt.Core) {
		for _, n := range c.NamesRecords() {
			if vm := r.Msg.GetVm(); (vm == "" || vm == n.State.VM.String()) && (n.Trouble != "" || !r.Msg.GetTroubled()) {
				out.Orders = append(out.Orders, namesOrderOf(n))
			}
		}
	})
	return connect.NewResponse(out), failure(err)
}

func namesOrderOf(n *mgmt.NamesRecord) *v1.NamesOrder {
	s := &n.State
	o := &v1.NamesOrder{Vm: s.VM.String(), Stage: n.Stage, Epoch: uint32(s.Version.Epoch), Step: s.Version.Step, Published: addrs(s.Published),
		Withdrawn: addrs(s.Withdrawn), OrderedNs: nanos(n.Ordered), Settled: n.Settled, Trouble: n.Trouble}
	for _, x := range s.Services.Names {
		o.Names = append(o.Names, x.Name)
	}
	return o
}
