// Command leftovers tells what a run of tests has left on the machine: network
// namespaces, mounts of nsfs and bpf, netdevs and processes of the project.
//
//	leftovers take FILE    # before
//	leftovers check FILE   # after; status 1 and a list if something is left
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/dpmip/dpmip/internal/guard"
)

func main() { os.Exit(run(os.Args[1:], os.Stderr)) }

func run(args []string, errors io.Writer) int {
	if len(args) != 2 || args[0] != "take" && args[0] != "check" {
		fmt.Fprintln(errors, "usage: leftovers take|check FILE")
		return 2
	}
	left, err := look(args[0], args[1])
	if err != nil {
		fmt.Fprintln(errors, "leftovers:", err)
		return 2
	}
	for _, x := range left {
		fmt.Fprintln(errors, "left over:", x)
	}
	return min(len(left), 1)
}

// look takes a snapshot into a file, or compares one from it with now.
func look(verb, name string) (left []string, err error) {
	now, err := guard.Take()
	if err != nil {
		return nil, err
	}
	if verb == "take" {
		b, err := json.Marshal(now)
		if err != nil {
			return nil, err
		}
		return nil, os.WriteFile(name, b, 0o600)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var before guard.Snapshot
	if err := json.Unmarshal(b, &before); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return guard.Left(before, now), nil
}
