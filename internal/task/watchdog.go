package task

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"
)

// Watchdog is the task that tells systemd (WatchdogSec= of the unit) that the
// process is alive, twice in each interval, as long as alive returns nil within
// half of one. alive asks the loop that must not hang, not whether all is well:
// a daemon with a problem is not helped by a restart. Without a watchdog in the
// environment the task only waits for its end.
func Watchdog(alive func(context.Context) error) Task {
	return Func("watchdog", func(ctx context.Context) error {
		interval := watchdogInterval(os.Getenv("WATCHDOG_USEC"), os.Getenv("WATCHDOG_PID"), os.Getpid())
		if interval == 0 {
			<-ctx.Done()
			return nil
		}
		tick := time.NewTicker(interval / 2)
		defer tick.Stop()
		for {
			if err := ping(ctx, interval/2, alive); err != nil && ctx.Err() == nil {
				// systemd ends the process when the next ones fail, too.
				_ = Notify(fmt.Sprintf("STATUS=not alive: %v", err))
			}
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
		}
	})
}

func ping(ctx context.Context, limit time.Duration, alive func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := alive(ctx); err != nil {
		return err
	}
	return Notify("WATCHDOG=1")
}

// watchdogInterval is 0 where systemd wants no word, or one from another process
// (sd_watchdog_enabled(3)).
func watchdogInterval(usec, pid string, self int) time.Duration {
	if pid != "" && pid != strconv.Itoa(self) {
		return 0
	}
	n, err := strconv.ParseInt(usec, 10, 64)
	if err != nil || n <= 0 {
		return 0
	}
	return time.Duration(n) * time.Microsecond
}
