package main

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/router"
	"github.com/dpmip/dpmip/router/fib"
)

// TestRouteChanges: a report says what has changed since the one before, or
// everything where the management node may know nothing.
func TestRouteChanges(t *testing.T) {
	t.Parallel()
	at := time.Unix(1000, 0)
	route := func(last byte, epoch mobility.Epoch, err string) router.Route {
		a := netip.AddrFrom4([4]byte{10, 0, 0, last})
		r := router.Route{Address: a, VM: mobility.NAI("vm1@x.example"), Epoch: epoch, Locator: netip.MustParseAddr("10.9.9.9"), Since: at, Err: err}
		if err != "" {
			r.Since = time.Time{}
		}
		return r
	}
	told := func(last string, epoch uint32, err string) *v1.Route {
		r := &v1.Route{Address: last, Vm: "vm1@x.example", Epoch: epoch, Locator: "10.9.9.9", Installed: err == "", Error: err}
		if err == "" {
			r.SinceNs, r.Metric = at.UnixNano(), 20
			if last == "10.0.0.3" {
				r.Metric = 15
			}
		}
		return r
	}
	one, two := route(1, 2, ""), route(2, 2, "")
	_, before := toldRoutes{metrics: fib.Metrics{Rules: []fib.Rule{{Prefix: netip.MustParsePrefix("10.0.0.3/32"), Metric: 15}}}}.changes([]router.Route{one, two}, 1, true)
	for name, tc := range map[string]struct {
		now  []router.Route
		all  bool
		want *v1.RouteChanges
	}{
		"nothing":     {[]router.Route{one, two}, false, &v1.RouteChanges{}},
		"all":         {[]router.Route{one}, true, &v1.RouteChanges{All: true, Changed: []*v1.Route{told("10.0.0.1", 2, "")}}},
		"one came":    {[]router.Route{one, two, route(3, 5, "")}, false, &v1.RouteChanges{Changed: []*v1.Route{told("10.0.0.3", 5, "")}}},
		"one is gone": {[]router.Route{two}, false, &v1.RouteChanges{Gone: []string{"10.0.0.1"}}},
		"one is lost": {[]router.Route{one, route(2, 2, "no way")}, false, &v1.RouteChanges{Changed: []*v1.Route{told("10.0.0.2", 2, "no way")}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, now := before.changes(tc.now, 2, tc.all)
			if d := cmp.Diff(tc.want, got, protocmp.Transform()); d != "" {
				t.Errorf("changes (-want +got)\n%s", d)
			}
			if len(now.of) != len(tc.now) || now.version != 2 {
				t.Errorf("told %d routes of version %d, want %d of 2", len(now.of), now.version, len(tc.now))
			}
		})
	}
}
