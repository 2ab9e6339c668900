package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/dpmip/dpmip/testbed/bench"
)

func benchmark() *cobra.Command {
	o := bench.Options{Seed: 1}
	jsonFile, document, list := "", "", false
	c := &cobra.Command{
		Use: "bench", Short: "measure ratios and limits; see docs/benchmarks.md", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if list {
				for _, g := range bench.Groups() {
					fmt.Fprintln(c.OutOrStdout(), g)
				}
				return nil
			}
			o.Bin, o.Out = ownDir(), c.ErrOrStderr()
			if o.Arm64 == "" {
				o.Arm64 = filepath.Join(o.Bin, "arm64", "dpmip-agent")
			}
			r, err := bench.Run(c.Context(), o)
			if err != nil {
				return err
			}
			return publish(c, r, jsonFile, document)
		},
	}
	f := c.Flags()
	f.BoolVar(&o.Quick, "quick", false, "fewer rounds: under two minutes")
	f.BoolVar(&o.Long, "long", false, "every cell of the matrix with 1000 moves")
	f.StringSliceVar(&o.Only, "only", nil, "groups to measure (see --list)")
	f.BoolVar(&list, "list", false, "list the groups and end")
	f.StringVar(&o.Arm64, "arm64", "", "the agent built for arm64 (default: arm64/dpmip-agent beside this program)")
	f.StringVar(&o.Dir, "dir", os.TempDir(), "where files lie that must be on a real disk")
	f.Uint64Var(&o.Seed, "seed", o.Seed, "seed of the run")
	f.StringVar(&jsonFile, "json", "", "write the figures as JSON to this file")
	f.StringVar(&document, "document", "", "put the table between the marks of this Markdown file")
	return c
}

// publish writes what was measured. A limit that was missed is said, and is no
// failure: the machine may have been busy.
func publish(c *cobra.Command, r *bench.Report, jsonFile, document string) error {
	if jsonFile != "" {
		if err := r.WriteFile(jsonFile); err != nil {
			return err
		}
	}
	if document != "" {
		if err := r.WriteDocument(document); err != nil {
			return err
		}
	}
	if err := r.WriteTable(c.OutOrStdout()); err != nil {
		return err
	}
	for _, f := range r.Missed() {
		fmt.Fprintf(c.ErrOrStderr(), "missed: %s: %s\n", f.Group, f.Name)
	}
	return nil
}
