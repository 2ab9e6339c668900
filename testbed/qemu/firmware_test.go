package qemu

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dpmip/dpmip/internal/transcript"
)

// needsMachine skips unless make firmware-check runs the test: it takes minutes,
// QEMU and a kernel.
func needsMachine(t *testing.T) {
	t.Helper()
	if os.Getenv("DPMIP_FIRMWARE") == "" {
		t.Skip("make firmware-check boots the image")
	}
}

// boot boots the firmware with a payload.
func boot(t *testing.T, ctx context.Context, payload, disk string) (*Machine, *transcript.Transcript) {
	t.Helper()
	s := &transcript.Transcript{}
	m, err := Boot(ctx, Options{
		Kernel:  filepath.Join(out, "kernel/vmlinuz"),
		Initrds: []string{filepath.Join(out, "firmware/dpmip-initramfs.img"), filepath.Join(out, "kernel/modules.img"), payload},
		Disk:    disk, Dir: t.TempDir(), Console: s,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("console:\n%s", s)
		}
	})
	return m, s
}

// judge holds results against the names that must be there.
func judge(t *testing.T, got []Result, want ...string) {
	t.Helper()
	var names []string
	for _, r := range got {
		names = append(names, r.Name)
		if r.Failed != "" {
			t.Errorf("%s: %s", r.Name, r.Failed)
		}
		t.Logf("%s: %s", r.Name, r.Data)
	}
	if d := cmp.Diff(want, names); d != "" {
		t.Errorf("results (-want +got):\n%s", d)
	}
}

var served = regexp.MustCompile(`the agent serves (\d+) ms after hand-over`)

// TestUpdates boots the image and carries out a good update, and one of every
// bad kind.
func TestUpdates(t *testing.T) {
	needsMachine(t)
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	bin := arm64(t, "./guest", "../../cmd/dpmip-mgmt")
	m, s := boot(t, ctx, payload(t, bin, "updates"), disk(t))
	got, err := m.Wait()
	if err != nil {
		t.Error(err)
	}
	judge(t, got, "boot", "update good", "update forged", "update older", "update crashes", "update hangs", "update better")
	ms := served.FindStringSubmatch(s.String())
	if ms == nil {
		t.Fatal("the console does not say when the agent served")
	}
	n, err := strconv.Atoi(ms[1])
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the agent served %d ms after the kernel's hand-over", n)
	if limit := os.Getenv("DPMIP_BOOT_LIMIT_MS"); limit != "" {
		if most, err := strconv.Atoi(limit); err != nil || n > most {
			t.Errorf("the agent served after %d ms, want at most %s", n, limit)
		}
	}
}

// TestPowerCut takes the power away while an update that hangs is on trial: the
// card starts, goes on with the trial, and returns.
func TestPowerCut(t *testing.T) {
	needsMachine(t)
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	bin, disk := arm64(t, "./guest", "../../cmd/dpmip-mgmt"), disk(t)
	m, _ := boot(t, ctx, payload(t, bin, "cut"), disk)
	var got []Result
	for r := range m.Results() {
		got = append(got, r)
		if r.Name == "trial" {
			if err := m.Cut(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := m.Wait(); err == nil || errors.Is(err, ErrNoSentinel) {
		t.Errorf("the cut machine ended with %v", err)
	}
	judge(t, got, "boot", "trial")
	m, _ = boot(t, ctx, payload(t, bin, "after"), disk)
	got, err := m.Wait()
	if err != nil {
		t.Error(err)
	}
	judge(t, got, "goes on", "returned", "boot", "serves again")
}

func TestConcatenateAligns(t *testing.T) {
	dir := t.TempDir()
	a, b, to := filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "to")
	write(t, a, []byte("12345"))
	write(t, b, []byte("678"))
	if err := concatenate(to, []string{a, b}); err != nil {
		t.Fatal(err)
	}
	if got := read(t, to); !slices.Equal(got, []byte("12345\x00\x00\x00678\x00")) {
		t.Errorf("%q", got)
	}
	if err := concatenate(to, []string{filepath.Join(dir, "none")}); err == nil {
		t.Error("a missing archive was passed over")
	}
}
