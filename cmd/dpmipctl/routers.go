package main

import (
	"context"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
)

func (e *env) routers() *cobra.Command {
	return command("routers", "list the routers of the inventory", 0, func(ctx context.Context, _ []string) error {
		m, err := e.management()
		if err != nil {
			return err
		}
		defer m.Close()
		r, err := m.ListRouters(ctx, connect.NewRequest(&v1.ListRoutersRequest{}))
		if err != nil {
			return err
		}
		var rows [][]any
		for _, h := range r.Msg.Routers {
			rows = append(rows, append([]any{h.Name, h.Role, h.Up, h.Locators, h.Routes, gaveWay(h), h.Outbox, h.RestartCounter, at(h.LastHeardNs)}, reported(h)...))
		}
		return e.print(r.Msg, "ROUTER ROLE UP LOCATORS ROUTES TRANSLATED OUTBOX RESTARTS HEARD HOLDS REFUSED BGP FLAPS IN OUT IGP REPORTED", rows)
	})
}

// gaveWay counts the addresses that are translated for want of room at the
// router, and says where nobody may give way now.
func gaveWay(h *v1.Router) string {
	if h.Overbooked {
		return fmt.Sprintf("%d (overbooked)", h.GaveWay)
	}
	return fmt.Sprint(h.GaveWay)
}

// reported is what a router says of itself: its columns from HOLDS on.
func reported(h *v1.Router) []any {
	if h.Report == nil {
		return []any{"-", "-", "-", "-", "-", "-", "-", "never"}
	}
	u, bgp, flaps := h.Report.Use, "-", uint32(0)
	if len(h.Report.Sessions) > 0 {
		bgp = fmt.Sprintf("%d/%d", u.GetSessionsUp(), u.GetSessions())
	}
	for _, s := range h.Report.Sessions {
		flaps += s.Flaps
	}
	return []any{fmt.Sprintf("%d/%d", u.GetRoutes(), u.GetLimit()), u.GetRefused(), bgp, flaps, u.GetImported(), u.GetAnnounced(), worst(h.Report.Igp), age(h.ReportedAtNs)}
}

// worst is the state of the worst check, with its name where it is not ok;
// empty without checks.
func worst(checks []*v1.Check) string {
	rank := map[string]int{"ok": 1, "unknown": 2, "warning": 3, "failed": 4}
	out, most := "", 0
	for _, c := range checks {
		if n := rank[c.State]; n > most {
			out, most = c.State, n
			if c.State != "ok" {
				out = c.State + " (" + c.Name + ")"
			}
		}
	}
	return out
}

// age is how long ago an instant in Unix nanoseconds was.
func age(ns int64) string {
	return fmt.Sprintf("%v ago", time.Since(time.Unix(0, ns)).Round(100*time.Millisecond))
}

func (e *env) hostRoutes() *cobra.Command {
	req := &v1.ListHostRoutesRequest{}
	c := command("host-routes", "list the host routes that the routers report: is it there, whose is it, since when", 0, func(ctx context.Context, _ []string) error {
		m, err := e.management()
		if err != nil {
			return err
		}
		defer m.Close()
		r, err := m.ListHostRoutes(ctx, connect.NewRequest(req))
		if err != nil {
			return err
		}
		var rows [][]any
		for _, x := range r.Msg.Routes {
			rows = append(rows, []any{x.Router, x.Route.Address, x.Route.Vm, x.Route.Epoch, x.Route.Locator, x.Route.Metric, x.Route.Installed, at(x.Route.SinceNs), age(x.ReportedAtNs), x.Route.Error})
		}
		return e.print(r.Msg, "ROUTER ADDRESS VM EPOCH LOCATOR METRIC INSTALLED SINCE REPORTED ERROR", rows)
	})
	c.Flags().StringVar(&req.Address, "address", "", "only this address's")
	c.Flags().StringVar(&req.Router, "at", "", "only this router's")
	return c
}
