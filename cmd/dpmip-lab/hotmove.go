package main

import (
	"context"
	"encoding"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/dpmip/dpmip/testbed/scenario"
)

// textVar makes a flag of a value that reads and writes itself as text.
func textVar[T interface {
	encoding.TextMarshaler
	encoding.TextUnmarshaler
}](c *cobra.Command, v T, name, usage string) {
	c.Flags().TextVar(v, name, v, usage)
}

// runner is a scenario.
type runner func(context.Context, scenario.Options) (*scenario.Report, error)

// scenarioCommand is a command that runs a scenario; all have the same flags.
func scenarioCommand(use, short string, run runner, o scenario.Options, more ...func(*cobra.Command, *scenario.Options)) *cobra.Command {
	jsonFile := ""
	c := &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			o.Out, o.Bin = c.OutOrStdout(), ownDir()
			if jsonFile == "-" {
				o.Out = c.ErrOrStderr()
			}
			r, err := run(c.Context(), o)
			if err != nil {
				return err
			}
			return report(c, r, jsonFile, o.Out)
		},
	}
	f := c.Flags()
	textVar(c, &o.Redirect, "redirect", "routed or translated")
	textVar(c, &o.Addresses, "addresses", "keep or renumber")
	textVar(c, &o.New, "new", "redirect, drop or reject new connections to old addresses")
	f.StringVar(&o.Family, "family", o.Family, "4, 6 or dual")
	f.StringVar(&o.Peer, "peer", o.Peer, "outside, source-host, destination-host or third-host")
	f.IntVar(&o.Moves, "moves", o.Moves, "how many moves")
	f.IntVar(&o.PPS, "pps", o.PPS, "datagrams per second, each way and family")
	f.IntVar(&o.TCP, "tcp", o.TCP, "TCP connections")
	f.Uint64Var(&o.Seed, "seed", o.Seed, "seed of the run")
	f.Var(&milliseconds{&o.Pause}, "pause", "how long the VM stands still in a move, in ms")
	f.Var(&milliseconds{&o.Settle}, "settle", "how long at least traffic is watched after a move, in ms")
	f.StringVar(&jsonFile, "json", "", "write the result as JSON to this file (- for standard output)")
	f.StringVar(&o.Pcap, "pcap", "", "keep captures of every fabric link in this directory")
	f.BoolVar(&o.Capture, "capture", o.Capture, "record every fabric link and check what is on it")
	f.StringVar(&o.Sabotage, "sabotage", "", "spoil one thing: a run that must fail (see list)")
	f.StringVar(&o.Attach, "attach", "", "tcx or cls_bpf; empty: as the kernel has it")
	f.StringVar(&o.Backend, "backend", "software", "of the agents: software or switchdev")
	f.IntVar(&o.Slow, "slow", 1, "how many times slower this machine is, where it is emulated: waits are longer, and times are not judged")
	for _, add := range more {
		add(c, &o)
	}
	return c
}

func holdFlag(c *cobra.Command, o *scenario.Options) {
	c.Flags().IntVar(&o.Hold, "hold", 0, "packets that wait at the destination at most; 0: the agent's default")
}

// report prints a result for people or programs, and its verdict.
func report(c *cobra.Command, r *scenario.Report, jsonFile string, out io.Writer) error {
	if jsonFile != "" {
		if err := r.WriteFile(jsonFile); err != nil {
			return err
		}
	}
	for _, x := range r.Receipts {
		x.Print(out)
	}
	if err := r.WriteTable(out); err != nil {
		return err
	}
	for _, p := range r.Problems {
		fmt.Fprintln(c.ErrOrStderr(), p)
	}
	if len(r.Problems) > 0 {
		return errVerdict
	}
	return nil
}

// ownDir is where this program lies: the others lie beside it.
func ownDir() string {
	exe, err := os.Executable()
	if err != nil {
		return "bin"
	}
	return filepath.Dir(exe)
}
