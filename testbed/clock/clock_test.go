package clock

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestNowIsTheKernelsMonotonicClock(t *testing.T) {
	read := func() time.Duration {
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
			t.Fatal(err)
		}
		return time.Duration(ts.Nano())
	}
	// Both clocks are read one after the other; only their order is asserted,
	// give or take the anchor's own error.
	const anchorError = 20 * time.Millisecond
	before, now, after := read(), Now(), read()
	if now < before-anchorError || now > after+anchorError {
		t.Errorf("Now() = %v, the kernel says %v to %v", now, before, after)
	}
	if got := Of(Wall(now)); got < now-time.Second || got > now+time.Second {
		t.Errorf("Of(Wall(%v)) = %v", now, got)
	}
}

func TestSleepUntilDoesNotReturnEarly(t *testing.T) {
	end := Now() + 2*time.Millisecond
	SleepUntil(end)
	if now := Now(); now < end {
		t.Errorf("woke %v early", end-now)
	}
	SleepUntil(0) // long past: returns at once
}
