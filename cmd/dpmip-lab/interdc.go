package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/dpmip/dpmip/testbed/scenario"
)

// interDC is `run inter-dc`.
func interDC() *cobra.Command {
	o := scenario.Defaults()
	o.Moves = 2
	return scenarioCommand("inter-dc", "move a VM between two data centres and back, and prove where its traffic enters", scenario.InterDC, o, faultFlag)
}

// faultFlag is the flag of a scenario that can have a fault.
func faultFlag(c *cobra.Command, o *scenario.Options) {
	c.Flags().StringVar(&o.Interior, "interior", scenario.InteriorOSPF, strings.Join(scenario.InteriorNames(), ", ")+": what carries routes inside")
	c.Flags().StringVar(&o.Fault, "fault", "", strings.Join(scenario.FaultNames(), " or ")+"; empty: none")
}
