package killtest

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	argument = "DPMIP_KILLTEST_ARGUMENT"
	// via names the program that runs this test binary where the kernel cannot: an
	// emulator of another processor.
	via = "DPMIP_KILLTEST_VIA"
)

// Main is the TestMain of a package whose tests call Kill: in the process that
// Kill starts it calls write with the argument of Kill, and else it runs the
// tests. write acknowledges on standard output, one short line at a time, and
// returns only if it has failed.
func Main(m *testing.M, write func(argument string) error) {
	if a, ok := os.LookupEnv(argument); ok {
		fmt.Fprintln(os.Stderr, write(a))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// Kill starts the test binary as a writer, calls acked with each line that it
// writes, and kills it after n of them. Lines that it had still written are
// passed on as well. It returns when the writer is dead.
func Kill(t *testing.T, arg string, n int, acked func(line string)) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := []string{self}
	if emulator := os.Getenv(via); emulator != "" {
		command = []string{emulator, self}
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = append(os.Environ(), argument+"="+arg)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	watchdog := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer watchdog.Stop()
	seen := 0
	for lines := bufio.NewScanner(out); lines.Scan(); {
		acked(lines.Text())
		if seen++; seen == n {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL || seen < n {
		t.Fatalf("the writer ended after %d acknowledgements with %v: %s", seen, err, stderr.String())
	}
}
