package task

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestWatchdogInterval(t *testing.T) {
	for _, tt := range []struct {
		usec, pid string
		want      time.Duration
	}{
		{"", "", 0}, {"30000000", "", 30 * time.Second}, {"30000000", "7", 30 * time.Second},
		{"30000000", "8", 0}, {"much", "", 0}, {"-1", "", 0},
	} {
		if got := watchdogInterval(tt.usec, tt.pid, 7); got != tt.want {
			t.Errorf("%q, %q: %v, want %v", tt.usec, tt.pid, got, tt.want)
		}
	}
}

func TestWatchdogTellsSystemd(t *testing.T) {
	name := filepath.Join(t.TempDir(), "n")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	t.Setenv("NOTIFY_SOCKET", name)
	t.Setenv("WATCHDOG_USEC", "20000")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	asked := 0
	go func() {
		done <- Watchdog(func(context.Context) error {
			if asked++; asked == 1 {
				return errors.New("the loop hangs")
			}
			return nil
		}).Run(ctx)
	}()
	var got []string
	for range 2 {
		b := make([]byte, 128)
		n, err := conn.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(b[:n]))
	}
	cancel()
	if err := <-done; err != nil || strings.Join(got, "|") != "STATUS=not alive: the loop hangs|WATCHDOG=1" {
		t.Errorf("%q, %v", got, err)
	}
}
