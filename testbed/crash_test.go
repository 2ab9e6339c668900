package testbed

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/dpmip/dpmip/testbed/netns"
	"github.com/dpmip/dpmip/testbed/topology"
)

const (
	crashBase = "TESTBED_CRASH_BASE"
	crashHow  = "TESTBED_CRASH_HOW"
)

// crash is a run that ends badly: it builds a lab with a process in it, says
// the process's id, and panics or is killed.
func crash(base, how string) {
	l, err := topology.Up(topology.Options{Base: base})
	if err != nil {
		panic(err)
	}
	defer l.Close()
	p, err := l.Node(topology.HVA).NS.Start(exec.Command("sleep", "1000"))
	if err != nil {
		panic(err)
	}
	if _, err := l.MountBPF(topology.HVA); err != nil {
		panic(err)
	}
	os.Stdout.WriteString(procPath(p.PID()))
	if how == "kill" {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	panic("the test body failed")
}

func procPath(pid int) string { return filepath.Join("/proc", strconv.Itoa(pid)) }

func TestNothingIsLeftAfterACrash(t *testing.T) {
	for _, how := range []string{"panic", "kill"} {
		t.Run(how, func(t *testing.T) {
			base := t.TempDir()
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), crashBase+"="+base, crashHow+"="+how)
			out, err := cmd.Output()
			proc := string(out)
			if err == nil || !strings.HasPrefix(proc, "/proc/") {
				t.Fatalf("the crashing run: %v, said %q", err, out)
			}
			removed, err := netns.Sweep(base, "lab")
			must(t, err)
			if want := map[string]int{"panic": 0, "kill": 1}[how]; len(removed) != want {
				t.Errorf("swept %v, want %d directories", removed, want)
			}
			if left, _ := filepath.Glob(filepath.Join(base, "[^.]*")); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
			if mounts, _ := os.ReadFile("/proc/self/mountinfo"); strings.Contains(string(mounts), base) {
				t.Error("something is still mounted")
			}
			waitFor(t, func() bool { _, err := os.Stat(proc); return err != nil })
		})
	}
}
