package main

import (
	"context"
	"errors"

	"connectrpc.com/connect"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/router/bgp"
)

var errNoBGP = errors.New("this router speaks no BGP: its configuration has no [bgp]")

// ListSessions tells of every configured peer.
func (s *service) ListSessions(ctx context.Context, _ *connect.Request[v1.ListSessionsRequest]) (*connect.Response[v1.ListSessionsResponse], error) {
	b := s.d.border
	if b == nil {
		return nil, connect.NewError(connect.CodeFailedPrecondition, errNoBGP)
	}
	sessions, err := b.Sessions(ctx)
	if err != nil {
		return nil, connect.NewError(connect.CodeUnavailable, err)
	}
	out := &v1.ListSessionsResponse{Asn: b.ASN(), RouterId: b.RouterID().String()}
	for _, x := range sessions {
		stale := uint32(0)
		if x.Stale {
			stale = uint32(x.Accepted)
		}
		out.Sessions = append(out.Sessions, &v1.Session{
			Peer: x.Peer.Name, Address: x.Peer.Address.String(), Asn: x.Peer.ASN, State: x.State, SinceNs: unixNano(x.Since), Flaps: x.Flaps,
			Received: uint32(x.Received), Accepted: uint32(x.Accepted), Refused: uint32(x.Refused), Announced: uint32(x.Announced), Stale: stale,
			Problem: x.Problem, Md5: x.MD5, GracefulRestart: s.d.bgp.GracefulRestart, LastDown: x.Down,
		})
	}
	return connect.NewResponse(out), nil
}

// ListExchanged tells what came in, what goes out, and what policy refuses.
func (s *service) ListExchanged(ctx context.Context, r *connect.Request[v1.ListExchangedRequest]) (*connect.Response[v1.ListExchangedResponse], error) {
	b := s.d.border
	if b == nil {
		return nil, connect.NewError(connect.CodeFailedPrecondition, errNoBGP)
	}
	learned, err := b.Learned(ctx)
	if err != nil {
		return nil, connect.NewError(connect.CodeUnavailable, err)
	}
	given, err := b.Given(ctx)
	if err != nil {
		return nil, connect.NewError(connect.CodeUnavailable, err)
	}
	out := &v1.ListExchangedResponse{}
	for i := range learned {
		keep(out, r.Msg, learnedRoute(b, &learned[i]))
	}
	for i := range given {
		for _, x := range givenRoutes(&given[i]) {
			keep(out, r.Msg, x)
		}
	}
	return connect.NewResponse(out), nil
}

// keep adds a route if the caller asked for it.
func keep(out *v1.ListExchangedResponse, r *v1.ListExchangedRequest, x *v1.Exchanged) {
	for _, c := range [][2]string{{r.Peer, x.Peer}, {r.Direction, x.Direction}, {r.Prefix, x.Prefix}} {
		if c[0] != "" && c[0] != c[1] {
			return
		}
	}
	out.Routes = append(out.Routes, x)
}

func learnedRoute(b *bgp.Border, l *bgp.Learned) *v1.Exchanged {
	x := &v1.Exchanged{Prefix: l.Prefix.String(), Direction: "in", Peer: b.PeerName(l.Peer), NextHop: l.NextHop.String(),
		Communities: l.Tags.Strings(), AsPath: l.Path, SinceNs: unixNano(l.Since), State: "spare"}
	switch {
	case l.Refused != nil:
		x.State, x.Reason = "refused", l.Refused.Error()
	case l.Best:
		x.State = "installed"
	}
	return x
}

func givenRoutes(g *bgp.Given) []*v1.Exchanged {
	if g.Withheld != nil {
		return []*v1.Exchanged{{Prefix: g.Prefix.String(), Direction: "out", State: "refused", Reason: g.Withheld.Error(), SinceNs: unixNano(g.Since)}}
	}
	var out []*v1.Exchanged
	for _, peer := range g.To {
		x := &v1.Exchanged{Prefix: g.Prefix.String(), Direction: "out", Peer: peer, Communities: g.Tags.Strings(), State: "announced"}
		if !g.NextHop.IsUnspecified() {
			x.NextHop = g.NextHop.String()
		}
		out = append(out, x)
	}
	return out
}
