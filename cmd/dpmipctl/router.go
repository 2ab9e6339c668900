package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
)

func (e *env) route() *cobra.Command {
	req := &v1.GetRouteRequest{}
	c := command("route ADDRESS", "ask a router's kernel for an address: is its route there, by whom, since when", 1, func(ctx context.Context, args []string) error {
		c, err := e.routerClient()
		if err != nil {
			return err
		}
		req.Address = args[0]
		r, err := c.GetRoute(ctx, connect.NewRequest(req))
		if err != nil {
			return err
		}
		if err := e.showRoute(r.Msg); err != nil {
			return err
		}
		if req.Until != "" && !r.Msg.Met {
			return connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf("%s is not %s", req.Address, req.Until))
		}
		return nil
	})
	c.Flags().StringVar(&req.Until, "until", "", "wait until it is installed, or absent; exit code 3 if it does not come")
	c.Flags().StringVar(&req.Owner, "owner", "", "only a route of this owner counts (dpmip, ospf, isis, bgp, ...)")
	c.Flags().StringSliceVar(&req.NextHops, "via", nil, "only a route by one of these gateways counts")
	c.Flags().DurationVar((*time.Duration)(&req.WaitNs), "wait", 0, "how long to wait")
	return c
}

func (e *env) showRoute(m *v1.GetRouteResponse) error {
	k := m.Route
	if k == nil {
		k = &v1.KernelRoute{}
	}
	var hops []string
	for _, h := range k.NextHops {
		hops = append(hops, strings.TrimSpace(h.Gateway+" "+h.Device))
	}
	return e.fields(m, [][2]any{{"installed", m.Installed}, {"route", k.Prefix}, {"type", k.Type}, {"by", k.Owner}, {"next hops", hops},
		{"metric", k.Metric}, {"since", at(k.SinceNs)}, {"vm", m.Vm}, {"epoch", m.Epoch}, {"locator", m.Locator}})
}

func (e *env) use() *cobra.Command {
	return command("use", "tell how much of a router's room for host routes is taken", 0, func(ctx context.Context, _ []string) error {
		c, err := e.routerClient()
		if err != nil {
			return err
		}
		r, err := c.GetUse(ctx, connect.NewRequest(&v1.GetUseRequest{}))
		if err != nil {
			return err
		}
		m := r.Msg
		return e.fields(m, [][2]any{{"roles", m.Roles}, {"host routes", fmt.Sprintf("%d of %d", m.Routes, m.Limit)},
			{"refused", m.Refused}, {"last refusal", strings.TrimPrefix(at(m.LastRefusalNs)+" "+m.LastRefusal, "- ")},
			{"imported", fmt.Sprintf("%d of %d", m.Imported, m.ImportLimit)}, {"announced", m.Announced}, {"sessions up", fmt.Sprintf("%d of %d", m.SessionsUp, m.Sessions)}})
	})
}

func (e *env) sessions() *cobra.Command {
	return command("sessions", "list a border router's BGP sessions", 0, func(ctx context.Context, _ []string) error {
		c, err := e.routerClient()
		if err != nil {
			return err
		}
		r, err := c.ListSessions(ctx, connect.NewRequest(&v1.ListSessionsRequest{}))
		if err != nil {
			return err
		}
		var rows [][]any
		for _, s := range r.Msg.Sessions {
			rows = append(rows, []any{s.Peer, s.Address, s.Asn, s.State, at(s.SinceNs), s.Flaps, s.Received, s.Accepted, s.Refused, s.Announced, s.Stale, s.Problem})
		}
		return e.print(r.Msg, "PEER ADDRESS ASN STATE SINCE FLAPS RECEIVED ACCEPTED REFUSED ANNOUNCED STALE PROBLEM", rows)
	})
}

func (e *env) exchanged() *cobra.Command {
	req := &v1.ListExchangedRequest{}
	c := command("exchanged", "list the host routes that a border router takes in and gives out, and what policy refuses", 0, func(ctx context.Context, _ []string) error {
		c, err := e.routerClient()
		if err != nil {
			return err
		}
		r, err := c.ListExchanged(ctx, connect.NewRequest(req))
		if err != nil {
			return err
		}
		var rows [][]any
		for _, x := range r.Msg.Routes {
			rows = append(rows, []any{x.Prefix, x.Direction, x.Peer, x.State, x.NextHop, x.Communities, at(x.SinceNs), x.Reason})
		}
		return e.print(r.Msg, "PREFIX DIRECTION PEER STATE NEXT-HOP COMMUNITIES SINCE REASON", rows)
	})
	c.Flags().StringVar(&req.Peer, "peer", "", "only this peer's")
	c.Flags().StringVar(&req.Direction, "direction", "", "in or out")
	c.Flags().StringVar(&req.Prefix, "prefix", "", "only this prefix")
	return c
}
