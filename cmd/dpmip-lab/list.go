package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dpmip/dpmip/testbed/scenario"
)

func list() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "list scenarios and sabotages", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			for _, l := range scenario.List() {
				if _, err := fmt.Fprintln(c.OutOrStdout(), l); err != nil {
					return err
				}
			}
			return nil
		},
	}
}
