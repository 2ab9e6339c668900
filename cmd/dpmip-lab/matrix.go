package main

import (
	"github.com/spf13/cobra"

	"github.com/dpmip/dpmip/testbed/scenario"
)

func matrix() *cobra.Command {
	o := scenario.MatrixOptions{Seed: 1}
	c := &cobra.Command{
		Use: "matrix", Short: "run every kind of hot move, and judge each", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			o.Bin, o.Out = ownDir(), c.OutOrStdout()
			passed, failed, err := scenario.Matrix(c.Context(), o)
			if err != nil {
				return err
			}
			return counted(c, passed, failed)
		},
	}
	f := c.Flags()
	f.BoolVar(&o.Full, "full", false, "every cell with each family and each way to attach programs")
	f.StringVar(&o.Only, "only", "", "only cells whose name contains this")
	f.StringVar(&o.Pcap, "pcap", "", "keep captures of every fabric link below this directory")
	f.Uint64Var(&o.Seed, "seed", o.Seed, "seed of the run")
	return c
}
