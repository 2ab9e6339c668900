package faults

import (
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/dpmip/dpmip/testbed/programs"
)

var (
	long   = flag.Bool("long", false, "dead times of minutes")
	slow   = flag.Int("slow", 1, "how many times slower this machine is, where it is emulated")
	device = flag.String("backend", "", "of the agents: software or switchdev")
	binDir = flag.String("bin", "", "directory of the programs; empty: build them")
)

// shortOr gives a dead time: the short one unless -long.
func shortOr(short, whenLong time.Duration) time.Duration {
	if *long {
		return whenLong
	}
	return short
}

// slower gives a wait as this machine needs it.
func slower(d time.Duration) time.Duration { return d * time.Duration(*slow) }

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	if os.Geteuid() != 0 {
		return 0, fmt.Errorf("network namespaces need root")
	}
	if *binDir != "" {
		return m.Run(), nil
	}
	dir, err := programs.Build("faults", "dpmip-agent", "dpmip-mgmt", "dpmip-router")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	*binDir = dir
	return m.Run(), nil
}
