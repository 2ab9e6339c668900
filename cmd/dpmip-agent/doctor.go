package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"slices"
	"text/tabwriter"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/dpmip/dpmip/agent/daemon"
	dpmipv1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/hwabstraction/detect"
	"github.com/dpmip/dpmip/internal/strictconf"
)

// errUnhealthy makes doctor end with 1; what has failed has been printed.
var errUnhealthy = errors.New("doctor: something has failed, see above")

// runDoctor looks at the machine as the agent would find it at its start. It
// needs no running agent, and touches nothing that one has.
func runDoctor(ctx context.Context, path string, args []string, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet("dpmip-agent doctor", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.StringVar(&path, "config", path, "configuration file")
	asJSON := fs.Bool("json", false, "print JSON for programs instead of a table")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("doctor: %q: want no argument", fs.Arg(0))
	}
	cfg, err := strictconf.Load[config](path)
	if err != nil {
		return err
	}
	r := daemon.Report(append(checks(detect.Examine(cfg.hardware())), answering(ctx, cfg.Socket.String())))
	if err := printChecks(stdout, r, *asJSON); err != nil {
		return err
	}
	if slices.ContainsFunc(r.Checks, func(c *dpmipv1.Check) bool { return c.State == states[detect.StateBad] }) {
		return errUnhealthy
	}
	return nil
}

// answering tells whether an agent runs here: what only it knows, it must be
// asked for.
func answering(ctx context.Context, socket string) daemon.Check {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return daemon.Check{
			Name: "agent", State: states[detect.StateUnknown], Found: "does not run: " + err.Error(),
			Advice: "when it runs, dpmipctl doctor --at agent also tells of management nodes, VMs and rules",
		}
	}
	conn.Close()
	return daemon.Check{Name: "agent", State: states[detect.StateGood], Found: "runs; dpmipctl doctor --at agent also tells of management nodes, VMs and rules"}
}

// checks puts what detect has found as the agent's doctor does.
func checks(found []detect.Check) []daemon.Check {
	out := make([]daemon.Check, len(found))
	for i, c := range found {
		out[i] = daemon.Check{Name: c.Name, State: states[c.State], Found: c.Found, Advice: c.Advice}
	}
	return out
}

// printChecks writes the same table or JSON as dpmipctl doctor.
func printChecks(to io.Writer, r *dpmipv1.DoctorResponse, asJSON bool) error {
	if asJSON {
		b, err := protojson.MarshalOptions{Multiline: true, UseProtoNames: true, EmitUnpopulated: true}.Marshal(r)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(to, string(b))
		return err
	}
	w := tabwriter.NewWriter(to, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "CHECK\tSTATE\tFOUND\tADVICE")
	for _, c := range r.Checks {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", c.Name, c.State, cmp.Or(c.Found, "-"), cmp.Or(c.Advice, "-"))
	}
	return w.Flush()
}
