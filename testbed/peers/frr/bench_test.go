package frr_test

import (
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/router/igp"
	"github.com/dpmip/dpmip/testbed/clock"
)

// quiet is how long a protocol is left alone between two changes, so that no
// change pays for the one before: its back-off ends.
var quiet = map[igp.Protocol]time.Duration{igp.OSPF3: 700 * time.Millisecond, igp.OSPF2: 700 * time.Millisecond, igp.ISIS: 1300 * time.Millisecond, igp.BGP: 300 * time.Millisecond}

// TestReachAgainstIPRoute measures the time from the word (a Request sent, or
// the command `ip route` run) to the far router's kernel, both ways in turns.
// It tells the medians and their ratio; it asserts nothing, as times are noisy.
func TestReachAgainstIPRoute(t *testing.T) {
	if !*long {
		t.Skip("a measurement: run with -long")
	}
	const rounds = 25
	for _, p := range igp.Protocols {
		t.Run(p.String(), func(t *testing.T) {
			f := open(t, p)
			f.set(2, hour, f.vm(0))
			f.await(true, f.vm(0))
			var ours, theirs, oursGone, theirsGone []time.Duration
			for i := range rounds {
				a := f.vm(10 + i)
				theirs = append(theirs, f.reach(func() { f.ip("add", a.String()) }, i, true))
				theirsGone = append(theirsGone, f.reach(func() { f.ip("del", a.String()) }, i, false))
				ours = append(ours, f.reach(func() { f.set(mobility.Epoch(2), hour, a) }, i, true))
				oursGone = append(oursGone, f.reach(func() { f.set(mobility.Epoch(3), 0, a) }, i, false))
			}
			t.Logf("%-6s add: dpmip-router %v, ip route %v, ratio %.2f; delete: %v, %v, ratio %.2f", p,
				median(ours), median(theirs), ratio(ours, theirs), median(oursGone), median(theirsGone), ratio(oursGone, theirsGone))
		})
	}
}

// reach tells how long a change takes to the far kernel.
func (f *fabric) reach(change func(), i int, there bool) time.Duration {
	f.t.Helper()
	clock.SleepUntil(clock.Now() + quiet[f.protocol])
	start := time.Now()
	change()
	at, err := f.seen.Await(f.ctx, f.vm(10+i), there)
	f.must(err)
	return at.Sub(start)
}

// ip is what an operator does by hand.
func (f *fabric) ip(verb, address string) {
	f.t.Helper()
	hop := "2001:db8:b::b"
	if v6, _ := f.protocol.Families(); !v6 {
		hop = "10.2.0.11"
	}
	if err := f.TOR.Run(exec.Command("ip", "route", verb, address, "via", hop, "proto", "201", "metric", "20")); err != nil {
		f.t.Fatal(err)
	}
}

func median(ds []time.Duration) time.Duration {
	ds = slices.Sorted(slices.Values(ds))
	return ds[len(ds)/2].Round(100 * time.Microsecond)
}

func ratio(a, b []time.Duration) float64 { return float64(median(a)) / float64(median(b)) }

// TestReachOfTheBorder measures the border router alone: Request to the far
// border's kernel over dpmip-router's own BGP, one host route and many.
func TestReachOfTheBorder(t *testing.T) {
	if !*long {
		t.Skip("a measurement: run with -long")
	}
	b := openBorder(t, "max_routes = 20000", borderRoles, farBorder)
	b.protocol = igp.BGP
	b.established()
	var add, gone []time.Duration
	for i := range 25 {
		a := b.vm(10 + i)
		add = append(add, b.reach(func() { b.set(2, hour, a) }, i, true))
		gone = append(gone, b.reach(func() { b.set(3, 0, a) }, i, false))
	}
	t.Logf("border add: %v; delete: %v", median(add), median(gone))
	for i, n := range sizes() {
		announced, withdrawn := b.comeAndGo(mobility.Epoch(2+2*i), b.vms(100, n))
		t.Logf("border: %d host routes announced in %v, withdrawn in %v", n, announced.Round(time.Millisecond), withdrawn.Round(time.Millisecond))
	}
}
