package task

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// Signals is the task that ends the group on SIGINT or SIGTERM. Each SIGHUP
// calls reload, which may be nil (SIGHUP is then ignored) and must not block
// for long.
func Signals(reload func()) Task {
	return Func("signals", func(ctx context.Context) error {
		ch := make(chan os.Signal, 4)
		signal.Notify(ch, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
		defer signal.Stop(ch)
		for {
			select {
			case <-ctx.Done():
				return nil
			case s := <-ch:
				if s != syscall.SIGHUP {
					return nil // the end of one task ends the group
				}
				if reload != nil {
					reload()
				}
			}
		}
	})
}
