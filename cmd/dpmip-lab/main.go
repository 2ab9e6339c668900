// Command dpmip-lab runs whole data centres in network namespaces of this
// machine: the real programs, real packets, and what every move cost.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/dpmip/dpmip/internal/buildinfo"
	"github.com/dpmip/dpmip/testbed/scenario"
)

// errVerdict ends a run whose figures are not what they must be; they have
// been printed.
var errVerdict = errors.New("the run has failed")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := root().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "dpmip-lab:", err)
		os.Exit(1)
	}
}

func root() *cobra.Command {
	c := &cobra.Command{
		Use: "dpmip-lab", Short: "data centres in network namespaces", Version: buildinfo.Version(),
		SilenceErrors: true, SilenceUsage: true,
	}
	run := &cobra.Command{Use: "run", Short: "run a scenario"}
	run.AddCommand(
		scenarioCommand("hot-move", "move a VM A -> B -> C -> A under traffic, and say what each move cost", scenario.HotMove, scenario.Defaults()),
		scenarioCommand("warm", "move a VM that stands still for seconds: what is sent to it waits, up to the bounds of the hold", scenario.Warm, scenario.WarmDefaults(), holdFlag),
		scenarioCommand("cold", "move a VM with nothing left at the source: only host routes lead to it", scenario.Cold, scenario.AwayDefaults()),
		scenarioCommand("source-lost", "kill a VM's hypervisor, and go on elsewhere by the operator's word", scenario.SourceLost, scenario.AwayDefaults()),
		scenarioCommand("abort", "prepare and release a move that then does not take place, and abort it", scenario.Abort, scenario.Defaults()),
		scenarioCommand("idle", "move a VM with TCP connections that conntrack has forgotten", scenario.Idle, scenario.Defaults()),
		interDC(), renumber())
	c.AddCommand(run, matrix(), sabotage(), list(), benchmark(), up(), down(), shell())
	return c
}
