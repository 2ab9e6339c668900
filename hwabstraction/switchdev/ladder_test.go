package switchdev

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/flower"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/tc"
)

// TestLadder: what the driver or the kernel refuses is asked for in a lesser way,
// rung by rung, and in the best way again later.
func TestLadder(t *testing.T) {
	t.Parallel()
	stateless := func(f flower.Filter) bool { return !tracks(f) }
	for _, c := range []struct {
		name    string
		skipHW  bool
		offload func(flower.Filter) bool
		refuse  func(tc.Request) error
		rung    string
		at      hwabstraction.Placement
	}{
		{"all of it", false, func(flower.Filter) bool { return true }, nil, "hardware, conntrack", hwabstraction.PlacementHardwareConntrack},
		{"no conntrack in hardware", false, stateless, nil, "hardware, stateless", hwabstraction.PlacementHardwareStateless},
		{"no hardware", false, nil, nil, "kernel, conntrack", hwabstraction.PlacementEBPF},
		{"neither act_ct", false, nil, refusing(tracks, hwabstraction.ErrNotSupported), "kernel, stateless", hwabstraction.PlacementEBPF},
		{"kernel only", true, nil, nil, "kernel, conntrack", hwabstraction.PlacementEBPF},
		{"no act_ct", true, nil, refusing(tracks, hwabstraction.ErrNotSupported), "kernel, stateless", hwabstraction.PlacementEBPF},
		{"table full", true, nil, refusing(nil, hwabstraction.ErrTableFull), "slow path", hwabstraction.PlacementEBPF},
		{"busy", true, nil, refusing(nil, unix.EBUSY), "slow path", hwabstraction.PlacementEBPF},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			run(t, c.skipHW, func(b *bench) {
				st := stamp(1, 1)
				b.table.set(func() { b.table.refuse, b.table.offload = c.refuse, c.offload })
				b.put(delivery(old6, old6, st))
				b.do(b.dev.Activate(st))
				b.rest()
				if got := b.rung(); got != c.rung {
					t.Errorf("on the rung %q, want %q", got, c.rung)
				}
				if got := b.placement(hwabstraction.DeliverID(old6)); got != c.at {
					t.Errorf("placed in %s, want %s", got, c.at)
				}
				if c.rung == "slow path" && len(b.table.all()) != 0 {
					t.Errorf("filters are left: %v", b.table.all())
				}
				b.table.set(func() { b.table.refuse, b.table.offload = nil, func(flower.Filter) bool { return true } })
				b.pass(DefaultClimb)
				best := ladder(c.skipHW)[0].name
				if got := b.rung(); got != best {
					t.Errorf("when there is room again on the rung %q, want %q", got, best)
				}
			})
		})
	}
}

// refusing refuses puts of some filters; nil: of all.
func refusing(some func(flower.Filter) bool, err error) func(tc.Request) error {
	return func(r tc.Request) error {
		if r.Op != tc.Delete && (some == nil || some(r.Filter)) {
			return err
		}
		return nil
	}
}

// TestGateRefused: nothing is switched while the fast path acts.
func TestGateRefused(t *testing.T) {
	t.Parallel()
	isGate := func(f flower.Filter) bool { return f.Priority == gatePriority }
	run(t, true, func(b *bench) {
		here, away := stamp(1, 1), stamp(1, 2)
		b.put(delivery(old6, old6, here), redirection(old6, there6, away, 0))
		b.do(b.dev.Activate(here))
		b.rest()
		b.table.set(func() { b.table.refuse = refusing(isGate, hwabstraction.ErrTableFull) })
		b.do(b.dev.Arm(away))
		b.expect(b.read(), `entry removed
			slow: arm`)
		b.rest()
		b.table.set(func() { b.table.refuse = nil })
		b.do(b.dev.Disarm(away))
		b.rest()
		full := errors.New("nothing goes")
		b.table.set(func() { b.table.refuse = func(tc.Request) error { return full } })
		if err := b.dev.Arm(away); !errors.Is(err, full) {
			t.Errorf("Arm while filters cannot be taken away: %v", err)
		}
		for _, r := range b.dev.Apply(t.Context(), []hwabstraction.Change{hwabstraction.Remove(hwabstraction.DeliverID(old6), here)}) {
			if !errors.Is(r.Err, full) {
				t.Errorf("Apply while filters cannot be taken away: %v", r.Err)
			}
		}
		if got := b.read(); strings.Contains(got, "slow") {
			t.Errorf("switched while the fast path acts:\n%s", got)
		}
		b.table.set(func() { b.table.refuse = nil })
	})
}
