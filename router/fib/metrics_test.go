package fib

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/internal/rtnl"
	"github.com/dpmip/dpmip/router"
)

func rules(text ...string) (out []Rule) {
	for i, p := range text {
		out = append(out, Rule{Prefix: netip.MustParsePrefix(p), Metric: uint32(15 + i)})
	}
	return out
}

func TestLongestPrefixGivesTheMetric(t *testing.T) {
	t.Parallel()
	m := Metrics{Rules: rules("2001:db8::/32", "2001:db8:a::/64", "10.1.0.0/16")}
	for a, want := range map[string]uint32{"2001:db8:1::1": 15, "2001:db8:a::1": 16, "10.1.2.3": 17, "10.2.0.1": 20, "2001:db9::1": 20} {
		if got := m.Of(netip.MustParseAddr(a)); got != want {
			t.Errorf("metric of %s = %d, want %d", a, got, want)
		}
	}
	m.Default = 25
	if got := m.Of(netip.MustParseAddr("192.0.2.1")); got != 25 {
		t.Errorf("metric of an address without a rule = %d, want 25", got)
	}
}

func TestCheckMetrics(t *testing.T) {
	t.Parallel()
	for want, m := range map[string]Metrics{
		"metric is missing": {Rules: []Rule{{Prefix: netip.MustParsePrefix("10.0.0.0/8")}}},
		"named twice":       {Rules: rules("10.0.0.0/8", "10.0.0.0/8")},
		"bgp.metric":        {Rules: rules("10.0.0.0/8", "10.1.0.0/16")},
	} {
		if err := m.Check(16); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Check = %v, want %q", err, want)
		}
	}
	good := Metrics{Rules: rules("10.0.0.0/8")}
	if err := good.Check(16); err != nil {
		t.Error(err)
	}
}

// TestEachRouteHasItsMetric: the kernel has each route with the metric of its
// rule, and mends and withdraws it there.
func TestEachRouteHasItsMetric(t *testing.T) {
	inNamespace(t, func(w *world) {
		near, far := netip.MustParseAddr("2001:db8:a::7"), netip.MustParseAddr("10.1.1.7")
		f := w.open(Metrics{Rules: rules("2001:db8:a::/64")})
		defer f.Close()
		chs := []router.Change{{Address: near, Locator: netip.MustParseAddr("2001:db8:1::2")}, {Address: far, Locator: netip.MustParseAddr("10.0.1.2")}}
		w.apply(f, chs...)
		w.metrics(map[string][]int{"2001:db8:a::7": {15}, "10.1.1.7": {20}})

		w.must(netlink.RouteDel(&w.ours()[0]))
		if moved, err := f.Refresh(); err != nil || len(moved) != 1 {
			t.Errorf("Refresh = %v, %v, want one route put right", moved, err)
		}
		w.metrics(map[string][]int{"2001:db8:a::7": {15}, "10.1.1.7": {20}})

		w.apply(f, router.Change{Address: near}, router.Change{Address: far})
		w.metrics(map[string][]int{})
	})
}

// TestChangedRuleMovesTheRoute: what an earlier process had put with another
// metric of the configuration goes once the new route is there, and not before.
func TestChangedRuleMovesTheRoute(t *testing.T) {
	inNamespace(t, func(w *world) {
		a, gone := netip.MustParseAddr("2001:db8:a::7"), netip.MustParseAddr("2001:db8:a::8")
		loc := netip.MustParseAddr("2001:db8:1::2")
		old := w.open(Metrics{})
		w.apply(old, router.Change{Address: a, Locator: loc}, router.Change{Address: gone, Locator: loc})
		w.must(old.Close())
		imports := w.open(Metrics{Default: 30}) // another FIB's are let be
		defer imports.Close()
		w.apply(imports, router.Change{Address: a, Locator: loc})

		f := w.open(Metrics{Rules: rules("2001:db8:a::/64")})
		defer f.Close()
		nowhere := netip.MustParseAddr("2001:db8:b::1")
		if errs := f.Apply([]router.Change{{Address: a, Locator: nowhere}}); errs[0] == nil {
			t.Error("a locator without a way is taken")
		}
		w.metrics(map[string][]int{"2001:db8:a::7": {20, 30}, "2001:db8:a::8": {20}})
		w.apply(f, router.Change{Address: a, Locator: loc}, router.Change{Address: gone})
		w.metrics(map[string][]int{"2001:db8:a::7": {15, 30}})
	})
}

func (w *world) apply(f *FIB, chs ...router.Change) {
	w.t.Helper()
	for i, err := range f.Apply(chs) {
		if err != nil {
			w.t.Errorf("%s: %v", chs[i].Address, err)
		}
	}
}

// ours are all routes of our rtproto, IPv6 first, as the kernel lists them.
func (w *world) ours() (out []netlink.Route) {
	w.t.Helper()
	for _, family := range []int{unix.AF_INET6, unix.AF_INET} {
		rs, err := netlink.RouteListFiltered(family, &netlink.Route{Protocol: rtnl.Protocol}, netlink.RT_FILTER_PROTOCOL)
		w.must(err)
		out = append(out, rs...)
	}
	return out
}

// metrics compares the metrics of each address's routes, best first.
func (w *world) metrics(want map[string][]int) {
	w.t.Helper()
	have := map[string][]int{}
	for _, r := range w.ours() {
		a, _ := netip.AddrFromSlice(r.Dst.IP)
		have[a.Unmap().String()] = append(have[a.Unmap().String()], r.Priority)
	}
	if d := cmp.Diff(want, have); d != "" {
		w.t.Errorf("metrics in the kernel (-want +got)\n%s", d)
	}
}
