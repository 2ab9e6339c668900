package main

import (
	"context"
	"fmt"
	"net"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/router/fib"
)

// service answers dpmipctl.
type service struct{ d *daemon }

// ListRoutes tells each route with what the kernel itself says of it.
func (s *service) ListRoutes(ctx context.Context, r *connect.Request[v1.ListRoutesRequest]) (*connect.Response[v1.ListRoutesResponse], error) {
	routes, err := s.d.server.Routes(ctx)
	if err != nil {
		return nil, connect.NewError(connect.CodeUnavailable, err)
	}
	metrics := s.d.cfg.metrics()
	kernel, err := fib.Read(&metrics)
	if err != nil {
		return nil, connect.NewError(connect.CodeInternal, err)
	}
	out := &v1.ListRoutesResponse{}
	for _, x := range routes {
		if r.Msg.Address != "" && r.Msg.Address != x.Address.String() {
			continue
		}
		have, installed := kernel[x.Address]
		route := &v1.Route{Address: x.Address.String(), Locator: x.Locator.String(), Vm: x.VM.String(), Epoch: uint32(x.Epoch),
			Installed: installed, SinceNs: unixNano(x.Since), ExpiresAtNs: unixNano(x.Expires), Error: x.Err}
		if installed {
			route.NextHop, route.Device, route.Metric = have.NextHop.String(), deviceName(have.Device), have.Metric
		}
		out.Routes = append(out.Routes, route)
	}
	return connect.NewResponse(out), nil
}

func unixNano(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func deviceName(index int) string {
	i, err := net.InterfaceByIndex(index)
	if err != nil {
		return fmt.Sprintf("if%d", index)
	}
	return i.Name
}
