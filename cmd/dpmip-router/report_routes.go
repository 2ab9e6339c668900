package main

import (
	"net/netip"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/router"
	"github.com/dpmip/dpmip/router/fib"
)

// toldRoutes are the host routes that the management node has been told of.
type toldRoutes struct {
	version uint64 // of router.Use
	of      map[netip.Addr]router.Route
	metrics fib.Metrics
}

// changes is what to tell now that routes are held, and what is told then. With
// all set it is everything: the management node may know nothing, or wrongly.
func (t toldRoutes) changes(held []router.Route, version uint64, all bool) (*v1.RouteChanges, toldRoutes) {
	now := toldRoutes{version: version, metrics: t.metrics, of: make(map[netip.Addr]router.Route, len(held))}
	out := &v1.RouteChanges{All: all}
	for _, r := range held {
		r.Expires = r.Expires.Truncate(0) // compared as a value: without the monotonic clock
		r.Since = r.Since.Truncate(0)
		now.of[r.Address] = r
		if told, ok := t.of[r.Address]; all || !ok || told != r {
			out.Changed = append(out.Changed, reportedRoute(&r, &t.metrics))
		}
	}
	if all {
		return out, now
	}
	for a := range t.of {
		if _, ok := now.of[a]; !ok {
			out.Gone = append(out.Gone, a.String())
		}
	}
	return out, now
}

// reportedRoute tells a route as the loop knows it, which follows the kernel's
// notices; what is there is there with its metric.
func reportedRoute(r *router.Route, m *fib.Metrics) *v1.Route {
	out := &v1.Route{Address: r.Address.String(), Locator: r.Locator.String(), Vm: r.VM.String(), Epoch: uint32(r.Epoch),
		Installed: r.Err == "" && !r.Since.IsZero(), SinceNs: unixNano(r.Since), ExpiresAtNs: unixNano(r.Expires), Error: r.Err}
	if out.Installed {
		out.Metric = m.Of(r.Address)
	}
	return out
}
