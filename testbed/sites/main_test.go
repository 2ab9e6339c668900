package sites

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/dpmip/dpmip/testbed/netns"
	"github.com/dpmip/dpmip/testbed/programs"
)

var (
	long   = flag.Bool("long", false, "every fault with every redirect, and 100 moves in a row")
	binDir = flag.String("bin", "", "directory of the programs; empty: build them")
)

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "sites:", err)
		code = 1
	}
	os.Exit(code)
}

// run removes what a killed run left behind, and builds the programs.
func run(m *testing.M) (int, error) {
	if os.Geteuid() != 0 {
		return 0, fmt.Errorf("network namespaces need root")
	}
	if _, err := netns.Sweep("", "sites-"); err != nil {
		return 0, err
	}
	if *binDir != "" {
		return m.Run(), nil
	}
	dir, err := programs.Build("sites", "dpmip-agent", "dpmip-mgmt", "dpmip-router")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	*binDir = dir
	return m.Run(), nil
}
