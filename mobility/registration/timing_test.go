package registration

import (
	"testing"
	"time"

	"github.com/dpmip/dpmip/mobility"
)

func TestRefreshIsAtTwoThirds(t *testing.T) {
	t.Parallel()
	low, high := time.Duration(1<<62), time.Duration(0)
	for seed := range uint64(10000) {
		d := RefreshAt(start, 900, seed).Sub(start)
		if again := RefreshAt(start, 900, seed).Sub(start); again != d {
			t.Fatalf("seed %d: %v and %v", seed, d, again)
		}
		low, high = min(low, d), max(high, d)
	}
	if low < 2160*time.Second || high > 2640*time.Second || high-low < 400*time.Second {
		t.Errorf("refreshes of an hour's lifetime between %v and %v, want 40 min +- 10 %%, spread", low, high)
	}
}

func TestSpreadDelayIsEven(t *testing.T) {
	t.Parallel()
	const n, span = 1000, 10 * time.Second
	for i := range n {
		d := SpreadDelay(7, i, n, span)
		if d < span/n*time.Duration(i) || d >= span/n*time.Duration(i+1) {
			t.Errorf("%d of %d after %v", i, n, d)
		}
	}
	if d := SpreadDelay(7, 3, 0, span); d != 0 {
		t.Errorf("of none: %v", d)
	}
}

func TestExpiresAt(t *testing.T) {
	t.Parallel()
	hour := mobility.Lifetime(900)
	if got := ExpiresAt(start, hour, time.Time{}); got != start.Add(time.Hour) {
		t.Errorf("without restart: %v", got)
	}
	if got := ExpiresAt(start, hour, start.Add(50*time.Minute)); got != start.Add(110*time.Minute) {
		t.Errorf("restarted after 50 minutes: %v", got)
	}
}

// TestRetransmissionIntervals holds every interval of many requests against the
// schedule.
func TestRetransmissionIntervals(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		for _, c := range []struct {
			handoff mobility.HandoffIndicator
			first   time.Duration
		}{{mobility.HandoffNew, 1500 * time.Millisecond}, {mobility.HandoffUnchanged, time.Second}} {
			n := newNode(t, RoleHypervisor, func(cfg *Config) { cfg.Seed = seed })
			n.Submit(start, 1, addrM, Request{VM: nai, Handoff: c.handoff, Lifetime: 10}, nil)
			last, want := start, c.first
			for try := range 9 {
				at, ok := n.Next()
				if d := at.Sub(last); !ok || d < want*9/10 || d > want*11/10 {
					t.Fatalf("seed %d, try %d: %v after the last, want %v +- 10 %%", seed, try, at.Sub(last), want)
				}
				if out := n.Tick(at.Add(-1), nil); len(out) != 0 {
					t.Fatalf("too early: %v", out)
				}
				if len(n.Tick(at, nil)) == 0 {
					t.Fatalf("nothing done at %v", at)
				}
				last, want = at, min(2*want, 32*time.Second)
			}
		}
	}
}

func TestHeartbeatRate(t *testing.T) {
	t.Parallel()
	n := newNode(t, RoleHypervisor, nil)
	n.Watch(start, addrM, nil)
	last := start
	for range 1000 {
		at, _ := n.Next()
		if d := at.Sub(last); d < time.Second || d > 1100*time.Millisecond {
			t.Fatalf("%v between heartbeats, want 1 s to 1.1 s", d)
		}
		n.Tick(at, nil)
		last = at
	}
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	ok := Config{Role: RoleRouter, Self: addrA, Management: nil}
	for name, c := range map[string]Config{
		"no role": {Self: addrA}, "no locator": {Role: RoleManagement}, "no management": ok,
		"negative": {Role: RoleManagement, Self: addrM, Window: -1}, "unknown role": {Role: 9, Self: addrM},
	} {
		if _, err := NewNode(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	n := newNode(t, RoleManagement, func(c *Config) { c.Retry = 20 * time.Millisecond })
	if n.cfg.FirstRetry != 30*time.Millisecond {
		t.Errorf("first retry %v with a retry of 20 ms", n.cfg.FirstRetry)
	}
}

// TestTimestampsNeverGoBack: the management node's, over a step of its clock and
// a restart.
func TestTimestampsNeverGoBack(t *testing.T) {
	t.Parallel()
	n := newNode(t, RoleManagement, nil)
	last := time.Time{}
	send := func(now time.Time) {
		t.Helper()
		stamp, _ := sentBy(t, n.Submit(now, 1, addrA, Request{VM: nai, Lifetime: 1}, nil)).Timestamp()
		if !stamp.Time().After(last) {
			t.Errorf("%v after %v", stamp, last)
		}
		last = stamp.Time()
	}
	send(start.Add(time.Hour))
	send(start)
	n = newNode(t, RoleManagement, func(c *Config) { c.LastTimestamp = n.LastTimestamp() })
	send(start)
	send(start.Add(2 * time.Hour))
	if want := start.Add(2 * time.Hour); !last.Equal(want) {
		t.Errorf("%v, want %v again", last, want)
	}
}
