// Command dpmip-router gives a default router (ToR), spine or border router the
// host routes of VMs that have moved: it answers the management node's
// Requests and keeps the kernel's table true to them. "dpmip-router observe" says
// for a router that is not told, as one with FRR alone, which host routes it has.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/dpmip/dpmip/internal/buildinfo"
	"github.com/dpmip/dpmip/internal/strictconf"
)

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "dpmip-router:", err)
		os.Exit(1)
	}
}

// printFRR prints what the FRR beside this router needs.
func printFRR(cfg *config, path string, w io.Writer) error {
	o, err := cfg.FRR.options()
	if err != nil {
		return err
	}
	if o == nil {
		return fmt.Errorf("%s: has no [frr] with protocols", path)
	}
	_, err = io.WriteString(w, o.Fragment())
	return err
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet("dpmip-router", flag.ContinueOnError)
	fs.SetOutput(stderr)
	path := fs.String("config", "/etc/dpmip/router.toml", "configuration file")
	check := fs.Bool("check-config", false, "read the configuration, say what is wrong with it, and end")
	version := fs.Bool("version", false, "print the version and end")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *version {
		fmt.Fprintln(stdout, buildinfo.Version())
		return nil
	}
	if fs.Arg(0) == "observe" {
		return runObserver(ctx, *path, *check, fs.Args()[1:], stdout, stderr)
	}
	cfg, err := strictconf.Load[config](*path)
	if err != nil {
		return err
	}
	if fs.Arg(0) == "frr-config" {
		return printFRR(&cfg, *path, stdout)
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("%q: want no argument, frr-config or observe", fs.Arg(0))
	}
	if *check {
		fmt.Fprintf(stdout, "%s: good: %d management node(s)\n", *path, len(cfg.Management))
		return nil
	}
	d, err := open(&cfg, stderr)
	if err != nil {
		return err
	}
	defer d.close()
	return d.run(ctx)
}
