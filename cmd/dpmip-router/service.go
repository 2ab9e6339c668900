package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/api/dpmip/v1/dpmipv1connect"
	"github.com/dpmip/dpmip/internal/buildinfo"
	"github.com/dpmip/dpmip/router/fib"
)

// service answers dpmipctl.
type service struct {
	dpmipv1connect.UnimplementedRouterServiceHandler
	d *daemon
}

// ListRoutes tells each route with what the kernel itself says of it.
func (s *service) ListRoutes(ctx context.Context, r *connect.Request[v1.ListRoutesRequest]) (*connect.Response[v1.ListRoutesResponse], error) {
	routes, err := s.d.server.Routes(ctx)
	if err != nil {
		return nil, connect.NewError(connect.CodeUnavailable, err)
	}
	kernel, err := fib.Read(s.d.cfg.Metric)
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
			route.NextHop, route.Device = have.NextHop.String(), deviceName(have.Device)
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

// Doctor explains what would keep this router from doing its work.
func (s *service) Doctor(ctx context.Context, _ *connect.Request[v1.DoctorRequest]) (*connect.Response[v1.DoctorResponse], error) {
	out := &v1.DoctorResponse{Version: buildinfo.Version()}
	for _, f := range []struct{ name, path string }{
		{"IPv6 forwarding", "/proc/sys/net/ipv6/conf/all/forwarding"},
		{"IPv4 forwarding", "/proc/sys/net/ipv4/ip_forward"},
	} {
		out.Checks = append(out.Checks, sysctlIs(f.name, f.path, "1", "this node does not forward: set it to 1"))
	}
	out.Checks = append(out.Checks, sysctlIs("strict reverse path filter", "/proc/sys/net/ipv4/conf/all/rp_filter", "0",
		"a moved VM's packets may be dropped as spoofed: set it to 0 or 2 towards the fabric"))
	routes := &v1.Check{Name: "host routes", State: "ok"}
	if err := s.d.healthy(ctx); err != nil {
		routes.State, routes.Found, routes.Advice = "failed", err.Error(), "the kernel has no way to that locator: look at the routes towards the hypervisor"
	}
	out.Checks = append(out.Checks, routes)
	return connect.NewResponse(out), nil
}

func sysctlIs(name, path, want, advice string) *v1.Check {
	c := &v1.Check{Name: name, State: "ok"}
	b, err := os.ReadFile(path)
	c.Found = strings.TrimSpace(string(b))
	switch {
	case err != nil:
		c.State, c.Found = "unknown", err.Error()
	case c.Found != want:
		c.State, c.Advice = "warning", advice
	}
	return c
}
