package main

import (
	"context"
	"slices"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
)

func (e *env) vm() *cobra.Command {
	c := &cobra.Command{Use: "vm", Short: "VMs at an agent: attach, release, activate, detach, list"}
	c.AddCommand(e.vmAttach(), e.vmRelease(), e.vmActivate(), e.vmDetach(), e.vmList())
	return c
}

func (e *env) vmAttach() *cobra.Command {
	req := &v1.AttachVMRequest{}
	var wait time.Duration
	c := command("attach VM", "a VM was started on a port: register it", 1, func(ctx context.Context, args []string) error {
		a, err := e.agentClient()
		if err != nil {
			return err
		}
		req.Vm, req.WaitNs = args[0], wait.Nanoseconds()
		r, err := a.AttachVM(ctx, connect.NewRequest(req))
		if err != nil {
			return err
		}
		return e.printVMs(r.Msg, []*v1.VM{r.Msg.Vm})
	})
	c.Flags().StringVar(&req.Port, "port", "", "the VM's port (default: as configured)")
	c.Flags().StringVar(&req.Mac, "mac", "", "the VM's MAC address (required)")
	c.Flags().StringSliceVar(&req.Addresses, "address", nil, "an address of the VM; repeat for each slot (required)")
	_ = c.MarkFlagRequired("mac")
	_ = c.MarkFlagRequired("address")
	return waitFlag(c, &wait, 5*time.Second)
}

func (e *env) vmRelease() *cobra.Command {
	return command("release VM", "the VM stops here now: arm its redirect, then answer", 1, func(ctx context.Context, args []string) error {
		a, err := e.agentClient()
		if err != nil {
			return err
		}
		r, err := a.ReleaseVM(ctx, connect.NewRequest(&v1.ReleaseVMRequest{Vm: args[0]}))
		if err != nil {
			return err
		}
		return e.fields(r.Msg, [][2]any{{"epoch", r.Msg.Epoch}, {"armed", at(r.Msg.ArmedNs)}, {"took", span(r.Msg.TookNs)}})
	})
}

func (e *env) vmActivate() *cobra.Command {
	req := &v1.ActivateVMRequest{}
	var wait time.Duration
	c := command("activate VM", "the VM runs here: release what was held, commit", 1, func(ctx context.Context, args []string) error {
		a, err := e.agentClient()
		if err != nil {
			return err
		}
		req.Vm, req.WaitNs = args[0], wait.Nanoseconds()
		r, err := a.ActivateVM(ctx, connect.NewRequest(req))
		if err != nil {
			return err
		}
		return e.fields(r.Msg, [][2]any{{"epoch", r.Msg.Epoch}, {"addresses", r.Msg.Addresses}, {"old addresses", r.Msg.OldAddresses},
			{"committed", r.Msg.Committed}, {"took", span(r.Msg.TookNs)}})
	})
	c.Flags().StringVar(&req.Port, "port", "", "the VM's port (default: as prepared)")
	return waitFlag(c, &wait, 5*time.Second)
}

func (e *env) vmDetach() *cobra.Command {
	req := &v1.DetachVMRequest{}
	var wait time.Duration
	c := command("detach VM", "the VM is gone: remove its binding", 1, func(ctx context.Context, args []string) error {
		a, err := e.agentClient()
		if err != nil {
			return err
		}
		req.Vm, req.WaitNs = args[0], wait.Nanoseconds()
		_, err = a.DetachVM(ctx, connect.NewRequest(req))
		return err
	})
	return waitFlag(c, &wait, 5*time.Second)
}

func (e *env) vmList() *cobra.Command {
	return command("list", "list the VMs that this agent serves, prepares or redirects", 0, func(ctx context.Context, _ []string) error {
		a, err := e.agentClient()
		if err != nil {
			return err
		}
		r, err := a.ListVMs(ctx, connect.NewRequest(&v1.ListVMsRequest{}))
		if err != nil {
			return err
		}
		return e.printVMs(r.Msg, r.Msg.Vms)
	})
}

func (e *env) drops() *cobra.Command {
	return command("drops", "count what an agent's device dropped on purpose, by reason", 0, func(ctx context.Context, _ []string) error {
		a, err := e.agentClient()
		if err != nil {
			return err
		}
		r, err := a.ListDrops(ctx, connect.NewRequest(&v1.ListDropsRequest{}))
		if err != nil {
			return err
		}
		var rows [][]any
		for reason, n := range r.Msg.Drops {
			rows = append(rows, []any{reason, n})
		}
		slices.SortFunc(rows, func(a, b []any) int { return compareText(a[0], b[0]) })
		return e.print(r.Msg, "REASON PACKETS", rows)
	})
}

// rules lists one kind of rule as the device holds it, or all of them.
func (e *env) rules(use, kind string) *cobra.Command {
	return command(use, "list "+use+" as an agent's device really holds them", 0, func(ctx context.Context, _ []string) error {
		a, err := e.agentClient()
		if err != nil {
			return err
		}
		r, err := a.ListRules(ctx, connect.NewRequest(&v1.ListRulesRequest{Kind: kind}))
		if err != nil {
			return err
		}
		var rows [][]any
		for _, x := range r.Msg.Rules {
			rows = append(rows, []any{x.Kind, x.Address, x.To, x.Port, x.Owner, x.Epoch, x.On, x.Placement, x.Packets, x.Bytes, x.Policy, x.Error})
		}
		return e.print(r.Msg, "KIND ADDRESS TO PORT VM EPOCH ON PLACEMENT PACKETS BYTES POLICY ERROR", rows)
	})
}
