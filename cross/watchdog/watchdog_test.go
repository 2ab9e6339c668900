package watchdog

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// file stands for the device: it keeps what was written, and knows no ioctl.
func file(t *testing.T) (string, *Dog) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "watchdog")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := Open(path, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return path, d
}

func TestFedWhileAliveThenDisarmed(t *testing.T) {
	path, d := file(t)
	if d.Timeout() != feeds*time.Second {
		t.Errorf("a device that cannot say its time-out: %v", d.Timeout())
	}
	ctx, cancel := context.WithCancel(context.Background())
	asked := 0
	alive := func(context.Context) error {
		if asked++; asked == 2 {
			cancel()
		}
		return nil
	}
	if err := d.Run(ctx, alive); err != nil {
		t.Fatal(err)
	}
	if err := d.Stop(); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "\x00\x00V" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestNotFedWhenTheLoopHangs(t *testing.T) {
	path, d := file(t)
	hangs := errors.New("no answer")
	if err := d.Run(context.Background(), func(context.Context) error { return hangs }); !errors.Is(err, hangs) {
		t.Errorf("err = %v", err)
	}
	if got, err := os.ReadFile(path); err != nil || len(got) != 0 {
		t.Errorf("fed %q, %v", got, err)
	}
}

func TestNoDevice(t *testing.T) {
	if _, err := Open(filepath.Join(t.TempDir(), "none"), time.Minute); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("err = %v", err)
	}
}
