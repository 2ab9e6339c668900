package nstest

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// inside is set in the copy of the test binary that has a namespace.
const inside = "DPMIP_NSTEST_INSIDE"

// patience is how long the test may take there.
const patience = 2 * time.Minute

// Run runs the calling test once more, in a process in a new network namespace
// with these addresses on its loopback interface, and reports whether this is
// that process. Where it is false the test has passed there, and is to return.
// It needs root.
func Run(t *testing.T, at ...netip.Addr) bool {
	t.Helper()
	if os.Getenv(inside) != "" {
		ip(t, "link", "set", "lo", "up")
		for _, a := range at {
			// Without nodad a busy kernel has not got round to it when a socket is bound.
			ip(t, "address", "add", netip.PrefixFrom(a, a.BitLen()).String(), "dev", "lo", "nodad")
		}
		return true
	}
	if os.Geteuid() != 0 {
		t.Fatal("network namespaces need root")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("in the namespace: %v\n%s", err, out)
	}
	return false
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}
