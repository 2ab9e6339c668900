package frr_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/dpmip/dpmip/testbed/netns"
	"github.com/dpmip/dpmip/testbed/programs"
)

var (
	long    = flag.Bool("long", false, "10 000 host routes, too, and more rounds")
	program = flag.String("router", "", "the dpmip-router to test; empty: build it")
)

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "frr:", err)
		code = 1
	}
	os.Exit(code)
}

// run removes what a killed run left behind, and builds the program.
func run(m *testing.M) (int, error) {
	if _, err := netns.Sweep("", "frr-"); err != nil {
		return 0, err
	}
	if *program != "" {
		return m.Run(), nil
	}
	dir, err := programs.Build("frr", "dpmip-router")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	*program = filepath.Join(dir, "dpmip-router")
	return m.Run(), nil
}

// sizes are the numbers of host routes that come and go at once in a measurement.
func sizes() []int {
	if *long {
		return []int{1000, 10000}
	}
	return []int{1000}
}

// many is how many host routes come and go at once.
func many() int {
	if *long {
		return 10000
	}
	return 1000
}
