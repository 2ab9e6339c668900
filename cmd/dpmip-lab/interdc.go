package main

import (
	"github.com/spf13/cobra"

	"github.com/dpmip/dpmip/testbed/scenario"
)

// interDC is `run inter-dc`.
func interDC() *cobra.Command {
	o := scenario.Defaults()
	o.Moves, o.Capture = 2, false
	return scenarioCommand("inter-dc", "move a VM between two data centres and back, and prove where its traffic enters", scenario.InterDC, o)
}
