package server

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/internal/buildinfo"
	"github.com/dpmip/dpmip/mgmt"
)

// ListHypervisors lists the hypervisors of the inventory by name.
func (s *Service) ListHypervisors(ctx context.Context, _ *connect.Request[v1.ListHypervisorsRequest]) (*connect.Response[v1.ListHypervisorsResponse], error) {
	out := &v1.ListHypervisorsResponse{}
	err := s.Loop.Do(ctx, func(c *mgmt.Core) {
		views := c.Peers()
		for name, h := range c.Inventory().Hypervisors {
			p := &v1.Hypervisor{Name: name, Locators: addrs(h.Locators)}
			for _, r := range h.Ranges {
				p.Ranges = append(p.Ranges, r.String())
			}
			for _, r := range h.Pools {
				p.Pools = append(p.Pools, r.String())
			}
			if v := views[name]; v != nil {
				p.Up, p.LastHeardNs, p.RestartCounter, p.Retiring = v.Up, nanos(v.Heard), v.Restart, v.Retired
				p.Vms, p.Anchors, p.Outbox = uint32(v.VMs), uint32(v.Anchors), uint32(v.Outbox)
			}
			out.Hypervisors = append(out.Hypervisors, p)
		}
	})
	slices.SortFunc(out.Hypervisors, func(a, b *v1.Hypervisor) int { return strings.Compare(a.Name, b.Name) })
	return connect.NewResponse(out), failure(err)
}

// ListRouters lists the routers of the inventory by name.
func (s *Service) ListRouters(ctx context.Context, _ *connect.Request[v1.ListRoutersRequest]) (*connect.Response[v1.ListRoutersResponse], error) {
	out := &v1.ListRoutersResponse{}
	err := s.Loop.Do(ctx, func(c *mgmt.Core) {
		views := c.Peers()
		for name, r := range c.Inventory().Routers {
			p := &v1.Router{Name: name, Role: r.Role, Locators: addrs(r.Locators)}
			if v := views[name]; v != nil {
				p.Up, p.LastHeardNs, p.RestartCounter = v.Up, nanos(v.Heard), v.Restart
				p.Routes, p.Outbox = uint32(v.Routes), uint32(v.Outbox)
				p.GaveWay, p.Overbooked = uint32(v.GaveWay), v.Overbooked
			}
			out.Routers = append(out.Routers, p)
		}
	})
	for _, p := range out.Routers {
		p.Report, p.ReportedAtNs = s.routers.of(p.Name)
	}
	slices.SortFunc(out.Routers, func(a, b *v1.Router) int { return strings.Compare(a.Name, b.Name) })
	return connect.NewResponse(out), failure(err)
}

// Doctor explains what keeps the management node from doing its work.
func (s *Service) Doctor(ctx context.Context, _ *connect.Request[v1.DoctorRequest]) (*connect.Response[v1.DoctorResponse], error) {
	out := &v1.DoctorResponse{Version: buildinfo.Version()}
	started := time.Now()
	err := s.Loop.Do(ctx, func(c *mgmt.Core) {
		out.Checks = append(out.Checks, peerChecks(c)...)
		out.Checks = append(out.Checks, outboxCheck(c), budgetCheck(c), expiryCheck(c), namesCheck(c))
		out.Checks = append(out.Checks, claimsCheck(c, time.Now()), departureCheck(c), observersCheck(c))
	})
	if err != nil {
		return nil, failure(err)
	}
	loop := &v1.Check{Name: "loop", State: "ok", Found: fmt.Sprintf("answers in %v", time.Since(started).Round(time.Microsecond))}
	out.Checks = append([]*v1.Check{loop}, out.Checks...)
	if s.Checks != nil {
		out.Checks = append(out.Checks, s.Checks(ctx)...)
	}
	return connect.NewResponse(out), nil
}

func peerChecks(c *mgmt.Core) []*v1.Check {
	var checks []*v1.Check
	views := c.Peers()
	var down []string
	for name, v := range views {
		if !v.Up {
			down = append(down, name)
		}
	}
	slices.Sort(down)
	check := &v1.Check{Name: "peers", State: "ok", Found: fmt.Sprintf("%d of %d answer heartbeats", len(views)-len(down), len(views))}
	if len(down) > 0 {
		check.State = "warning"
		check.Advice = "no answer from " + strings.Join(down, ", ") + ": is the daemon up, does its locator answer, are SPIs and keys the same on both sides?"
	}
	return append(checks, check)
}

func outboxCheck(c *mgmt.Core) *v1.Check {
	check := &v1.Check{Name: "outbox", State: "ok", Found: fmt.Sprintf("%d messages wait for an answer", c.Outbox())}
	for _, b := range c.Bindings("", "", 0) {
		for _, a := range b.Anchors {
			if t := c.Trouble(b.VM, a.Hypervisor); t != "" {
				check.State, check.Advice = "warning", fmt.Sprintf("for example %s at %s: %s", b.VM, a.Hypervisor, t)
			}
		}
		for _, r := range slices.Concat(b.Routes, b.Rehearsal) {
			if t := c.Trouble(b.VM, r.Router); t != "" {
				check.State, check.Advice = "warning", fmt.Sprintf("for example %s at %s: %s", b.VM, r.Router, t)
			}
		}
	}
	return check
}

// budgetCheck tells of routers that have no room.
func budgetCheck(c *mgmt.Core) *v1.Check {
	check := &v1.Check{Name: "budgets", State: "ok", Found: "every host route has its room"}
	total := 0
	views := c.Peers()
	var full, over []string
	for name, v := range views {
		total += v.GaveWay
		if v.GaveWay > 0 {
			full = append(full, fmt.Sprintf("%s (%d)", name, v.GaveWay))
		}
		if v.Overbooked {
			over = append(over, name)
		}
	}
	slices.Sort(full)
	slices.Sort(over)
	if total > 0 {
		check.State, check.Found = "warning", fmt.Sprintf("%d addresses of routed moves are translated, for want of room at %s", total, strings.Join(full, ", "))
		check.Advice = "raise max_routes there if its table has room, or move fewer VMs routed"
	}
	if len(over) > 0 {
		check.State, check.Advice = "warning", "no room, and nobody may give way now, at "+strings.Join(over, ", ")+": the moves that wait stay translated"
	}
	return check
}

func expiryCheck(c *mgmt.Core) *v1.Check {
	n := 0
	for _, b := range c.Bindings("", "", 0) {
		if c.Expired(b) {
			n++
		}
	}
	check := &v1.Check{Name: "bindings", State: "ok", Found: "none has expired"}
	if n > 0 {
		check.State, check.Found = "warning", fmt.Sprintf("%d have expired and are kept", n)
		check.Advice = "their hypervisors do not refresh them: look at `dpmipctl hypervisors`"
	}
	return check
}
