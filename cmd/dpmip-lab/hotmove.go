package main

import (
	"encoding"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/dpmip/dpmip/testbed/result"
	"github.com/dpmip/dpmip/testbed/scenario"
)

// textVar makes a flag of a value that reads and writes itself as text.
func textVar[T interface {
	encoding.TextMarshaler
	encoding.TextUnmarshaler
}](c *cobra.Command, v T, name, usage string) {
	c.Flags().TextVar(v, name, v, usage)
}

func hotMove() *cobra.Command {
	o := scenario.Defaults()
	jsonFile := ""
	c := &cobra.Command{
		Use: "hot-move", Short: "move a VM A -> B -> C -> A under traffic, and say what each move cost", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			o.Out = c.OutOrStdout()
			if jsonFile == "-" {
				o.Out = c.ErrOrStderr()
			}
			r, err := scenario.HotMove(c.Context(), o)
			if err != nil {
				return err
			}
			return report(c, r, jsonFile, scenario.Problems(r))
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
	pause := int(o.Pause.Milliseconds())
	f.IntVar(&pause, "pause", pause, "how long the VM stands still in a move, in ms")
	f.StringVar(&jsonFile, "json", "", "write the result as JSON to this file (- for standard output)")
	f.StringVar(&o.Pcap, "pcap", "", "keep captures of every fabric link in this directory")
	f.StringVar(&o.Sabotage, "sabotage", "", "spoil one thing: a run that must fail (see list)")
	f.StringVar(&o.Attach, "attach", "", "tcx or cls_bpf; empty: as the kernel has it")
	c.PreRun = func(*cobra.Command, []string) {
		o.Pause = msDuration(pause)
		o.Bin = ownDir()
	}
	return c
}

// report prints a result for people or programs, and its verdict.
func report(c *cobra.Command, r *result.Run, jsonFile string, problems []string) error {
	if jsonFile != "" {
		if err := r.WriteFile(jsonFile); err != nil {
			return err
		}
	}
	if jsonFile != "-" {
		if err := r.WriteTable(c.OutOrStdout()); err != nil {
			return err
		}
	}
	for _, p := range problems {
		fmt.Fprintln(c.ErrOrStderr(), p)
	}
	if len(problems) > 0 {
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
