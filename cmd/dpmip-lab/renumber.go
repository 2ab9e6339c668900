package main

import (
	"github.com/spf13/cobra"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/testbed/scenario"
)

// renumber is `run renumber`.
func renumber() *cobra.Command {
	o := scenario.Defaults()
	o.Moves, o.Capture, o.Addresses = 2, false, mobility.AddressesRenumber
	return scenarioCommand("renumber", "move a VM that gets new addresses, and count how many new connections reach them by name", scenario.Renumber, o)
}
