// Command dpmip-agent runs on a hypervisor's DPU, or on the hypervisor itself:
// it registers the VMs behind it, prepares and carries out their moves, and
// programs the NIC.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"github.com/dpmip/dpmip/internal/buildinfo"
	"github.com/dpmip/dpmip/internal/strictconf"
)

// usage tells of what flags do not.
const usage = `
Command:
  doctor [-config FILE] [-json]
    	look at this machine as the agent would find it, whether one runs or not,
    	and say what to change; ends with 1 where something has failed
`

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "dpmip-agent:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet("dpmip-agent", flag.ContinueOnError)
	fs.SetOutput(stderr)
	path := fs.String("config", "/etc/dpmip/agent.toml", "configuration file")
	check := fs.Bool("check-config", false, "read the configuration, say what is wrong with it, and end")
	version := fs.Bool("version", false, "print the version and end")
	fs.Usage = func() {
		fmt.Fprintf(stderr, "Usage of %s:\n", fs.Name())
		fs.PrintDefaults()
		fmt.Fprint(stderr, usage)
	}
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *version {
		fmt.Fprintln(stdout, buildinfo.Version())
		return nil
	}
	switch {
	case fs.Arg(0) == "doctor":
		return runDoctor(ctx, *path, fs.Args()[1:], stdout, stderr)
	case fs.NArg() > 0:
		return fmt.Errorf("%q: want no argument, or doctor", fs.Arg(0))
	}
	cfg, err := strictconf.Load[config](*path)
	if err != nil {
		return err
	}
	if *check {
		fmt.Fprintf(stdout, "%s: good: %d management node(s), %d VM range(s), %d delivery pool(s)\n", *path, len(cfg.Management), len(cfg.Ranges), len(cfg.Pools))
		return nil
	}
	settle := hurry()
	d, err := open(ctx, &cfg, stderr)
	if err != nil {
		return err
	}
	defer d.close()
	d.settle = settle
	return d.run(ctx)
}

// startHeap is how much a start allocates before its garbage is looked for: there
// is hardly any among the records of a card, and looking for it takes as long as
// reading them.
const startHeap = 256 << 20

// hurry lets the heap grow to startHeap; settle ends that.
func hurry() (settle func()) {
	percent, limit := debug.SetGCPercent(-1), debug.SetMemoryLimit(startHeap)
	return func() {
		debug.SetMemoryLimit(limit)
		debug.SetGCPercent(percent)
		debug.FreeOSMemory() // what the start took, for the kernel's types and the programs
	}
}
