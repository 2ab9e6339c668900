package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/router/fib"
)

// question is a GetRouteRequest as values.
type question struct {
	prefix   netip.Prefix
	owner    string
	nextHops []netip.Addr
	until    string
	wait     time.Duration
}

// longestWait bounds how long one call may wait; the caller asks again.
const longestWait = 5 * time.Minute

func readQuestion(r *v1.GetRouteRequest) (*question, error) {
	q := &question{owner: r.Owner, until: r.Until, wait: min(time.Duration(r.WaitNs), longestWait)}
	p, err := netip.ParsePrefix(r.Address)
	if err != nil {
		a, err := netip.ParseAddr(r.Address)
		if err != nil {
			return nil, fmt.Errorf("address %q: want an address or a prefix", r.Address)
		}
		p = netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen())
	}
	q.prefix = p.Masked()
	switch r.Until {
	case "", "installed", "absent":
	default:
		return nil, fmt.Errorf("until %q: want installed or absent", r.Until)
	}
	for _, text := range r.NextHops {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("next_hops: %q is no address", text)
		}
		q.nextHops = append(q.nextHops, a.Unmap())
	}
	return q, nil
}

// match tells whether the kernel's route is what was asked for.
func (q *question) match(f *fib.Found) bool {
	return f != nil && f.Prefix == q.prefix && f.Usable() && (q.owner == "" || q.owner == f.Owner()) && (len(q.nextHops) == 0 || f.By(q.nextHops))
}

// met tells whether what is waited for has come.
func (q *question) met(f *fib.Found) bool {
	switch q.until {
	case "installed":
		return q.match(f)
	case "absent":
		return !q.match(f)
	}
	return true
}

// GetRoute asks the kernel, and again at each change of its table while the
// caller waits.
func (s *service) GetRoute(ctx context.Context, r *connect.Request[v1.GetRouteRequest]) (*connect.Response[v1.GetRouteResponse], error) {
	q, err := readQuestion(r.Msg)
	if err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	timer := time.NewTimer(max(0, q.wait))
	defer timer.Stop()
	for over := q.wait <= 0; ; {
		changed := s.d.journal.Changed()
		found, err := fib.Lookup(s.d.lookup, q.prefix.Addr())
		if err != nil && !errors.Is(err, fib.ErrNoNextHop) {
			return nil, connect.NewError(connect.CodeInternal, err)
		}
		if over || q.met(found) {
			return s.routeAnswer(ctx, q, found)
		}
		select {
		case <-changed:
		case <-timer.C:
			over = true
		case <-ctx.Done():
			return nil, connect.NewError(connect.CodeCanceled, ctx.Err())
		}
	}
}

func (s *service) routeAnswer(ctx context.Context, q *question, f *fib.Found) (*connect.Response[v1.GetRouteResponse], error) {
	out := &v1.GetRouteResponse{Installed: q.match(f), Met: q.until != "" && q.met(f), AskedNs: time.Now().UnixNano()}
	if f != nil {
		f.Since = s.d.journal.Since(*f)
		out.Route = kernelRoute(f)
	}
	if !q.prefix.IsSingleIP() {
		return connect.NewResponse(out), nil
	}
	held, ok, err := s.d.server.Route(ctx, q.prefix.Addr())
	if err != nil {
		return nil, connect.NewError(connect.CodeUnavailable, err)
	}
	if ok {
		out.Vm, out.Epoch, out.Locator = held.VM.String(), uint32(held.Epoch), held.Locator.String()
	}
	return connect.NewResponse(out), nil
}

func kernelRoute(f *fib.Found) *v1.KernelRoute {
	out := &v1.KernelRoute{Prefix: f.Prefix.String(), Owner: f.Owner(), Protocol: uint32(f.Protocol), Metric: uint32(f.Metric), Type: f.Type, SinceNs: unixNano(f.Since)}
	for _, h := range f.NextHops {
		hop := &v1.NextHop{Device: deviceName(h.Device), Weight: uint32(h.Weight)}
		if h.Gateway.IsValid() {
			hop.Gateway = h.Gateway.String()
		}
		out.NextHops = append(out.NextHops, hop)
	}
	return out
}

// GetUse tells how full the router is.
func (s *service) GetUse(ctx context.Context, _ *connect.Request[v1.GetUseRequest]) (*connect.Response[v1.GetUseResponse], error) {
	u, err := s.d.server.Use(ctx)
	if err != nil {
		return nil, connect.NewError(connect.CodeUnavailable, err)
	}
	out := &v1.GetUseResponse{
		Routes: uint32(u.Routes), Limit: uint32(u.Limit), Refused: u.Refused, LastRefusal: u.Last, LastRefusalNs: unixNano(u.LastAt), Roles: s.d.roles(),
	}
	if s.d.border == nil {
		return connect.NewResponse(out), nil
	}
	c, err := s.d.border.Counts(ctx)
	if err != nil {
		return nil, connect.NewError(connect.CodeUnavailable, err)
	}
	out.Imported, out.ImportLimit, out.Announced = uint32(c.Imported), uint32(c.ImportLimit), uint32(c.Announced)
	out.Sessions, out.SessionsUp = uint32(c.Sessions), uint32(c.SessionsAlive)
	return connect.NewResponse(out), nil
}
