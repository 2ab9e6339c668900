// Command dpmip-mgmt is the management node: the binding cache of all VMs, who
// may move where, and the one who tells sources and routers about a move.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/dpmip/dpmip/internal/buildinfo"
)

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "dpmip-mgmt:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet("dpmip-mgmt", flag.ContinueOnError)
	fs.SetOutput(stderr)
	path := fs.String("config", "/etc/dpmip/mgmt.toml", "configuration file")
	check := fs.Bool("check-config", false, "read configuration and inventory, say what is wrong with them, and end")
	version := fs.Bool("version", false, "print the version and end")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *version {
		fmt.Fprintln(stdout, buildinfo.Version())
		return nil
	}
	cfg, inv, err := load(*path)
	if err != nil {
		return err
	}
	if *check {
		fmt.Fprintf(stdout, "%s: good: %d hypervisors, %d routers in %s\n", *path, len(inv.Hypervisors), len(inv.Routers), cfg.Inventory)
		return nil
	}
	d, err := open(ctx, cfg, inv, stderr)
	if err != nil {
		return err
	}
	defer d.close()
	return d.run(ctx)
}
