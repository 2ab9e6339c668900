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

	"github.com/dpmip/dpmip/internal/buildinfo"
	"github.com/dpmip/dpmip/internal/strictconf"
)

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
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *version {
		fmt.Fprintln(stdout, buildinfo.Version())
		return nil
	}
	cfg, err := strictconf.Load[config](*path)
	if err != nil {
		return err
	}
	if *check {
		fmt.Fprintf(stdout, "%s: good: %d management node(s), %d VM range(s), %d delivery pool(s)\n", *path, len(cfg.Management), len(cfg.Ranges), len(cfg.Pools))
		return nil
	}
	d, err := open(ctx, &cfg, stderr)
	if err != nil {
		return err
	}
	defer d.close()
	return d.run(ctx)
}
