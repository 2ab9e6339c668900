package watchdog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// feeds is how often a watchdog is fed within its time-out.
const feeds = 4

// Dog is an open watchdog.
type Dog struct {
	f       *os.File
	timeout time.Duration
}

// Open opens the watchdog and sets its time-out, in whole seconds of at least
// one. A device that cannot be told keeps its own, which Timeout then gives;
// one that cannot even say it is fed every second.
func Open(path string, timeout time.Duration) (*Dog, error) {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("watchdog: %w", err)
	}
	d := &Dog{f: f, timeout: feeds * time.Second}
	if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.WDIOC_SETTIMEOUT, max(1, int(timeout/time.Second))); err == nil {
		d.timeout = timeout.Truncate(time.Second)
	}
	if n, err := unix.IoctlGetInt(int(f.Fd()), unix.WDIOC_GETTIMEOUT); err == nil && n > 0 {
		d.timeout = time.Duration(n) * time.Second
	}
	return d, nil
}

// Timeout is after how long without food the card is reset.
func (d *Dog) Timeout() time.Duration { return d.timeout }

// Run feeds until ctx ends. Before each feeding alive must answer, within the
// time-out: it stands for the loop that must not hang.
func (d *Dog) Run(ctx context.Context, alive func(context.Context) error) error {
	tick := time.NewTicker(d.timeout / feeds)
	defer tick.Stop()
	for {
		if err := alive(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("watchdog: not fed any more: %w", err)
		}
		if _, err := d.f.Write([]byte{0}); err != nil {
			return fmt.Errorf("watchdog: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Stop disarms the watchdog, for an orderly end; without it, Close leaves it
// armed.
func (d *Dog) Stop() error {
	_, err := d.f.Write([]byte("V")) // the magic close of the kernel's watchdog API
	return errors.Join(err, d.f.Close())
}
