package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dpmip/dpmip/testbed/scenario"
)

func sabotage() *cobra.Command {
	return &cobra.Command{
		Use: "sabotage", Short: "spoil one thing in each of several runs, every one of which must fail for that reason", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			passed, failed, err := scenario.Sabotages(c.Context(), ownDir(), c.OutOrStdout())
			if err != nil {
				return err
			}
			return counted(c, passed, failed)
		},
	}
}

// counted prints the last line of a command that runs many.
func counted(c *cobra.Command, passed, failed int) error {
	if _, err := fmt.Fprintf(c.OutOrStdout(), "%d passed, %d failed\n", passed, failed); err != nil {
		return err
	}
	if failed > 0 {
		return errVerdict
	}
	return nil
}
