// Package clock is the one clock of a run: CLOCK_MONOTONIC in nanoseconds, the
// same that the kernel, eBPF and every process of the machine read.
package clock

import (
	"time"

	"golang.org/x/sys/unix"
)

// base ties Go's monotonic reading, which needs no system call, to the
// kernel's.
var base, offset = anchor()

// anchor reads both clocks as close to each other as a few tries allow.
func anchor() (best time.Time, kernel time.Duration) {
	closest := time.Hour
	for range 10 {
		before := time.Now()
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
			panic(err) // cannot fail on Linux
		}
		if took := time.Since(before); took < closest {
			closest, best, kernel = took, before, time.Duration(ts.Nano())
		}
	}
	return best, kernel
}

// Now is the time since boot, without suspension.
func Now() time.Duration { return offset + time.Since(base) }

// Of converts a wall-clock reading of this process, which carries the
// monotonic one.
func Of(t time.Time) time.Duration { return offset + t.Sub(base) }

// Wall converts back, for showing and for comparing with kernel wall-clock
// stamps taken close to t.
func Wall(t time.Duration) time.Time { return time.Now().Add(t - Now()).Round(0) }

// SleepUntil blocks the thread until t, to some tens of microseconds: Go's own
// timers round up to a millisecond when the process is idle.
func SleepUntil(t time.Duration) {
	ts := unix.NsecToTimespec(int64(t))
	for unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &ts, nil) == unix.EINTR {
	}
}
