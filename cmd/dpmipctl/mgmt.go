package main

import (
	"context"
	"fmt"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
)

func (e *env) bindings() *cobra.Command {
	req := &v1.ListBindingsRequest{}
	c := command("bindings", "list who serves each VM", 0, func(ctx context.Context, _ []string) error {
		m, err := e.management()
		if err != nil {
			return err
		}
		defer m.Close()
		all := &v1.ListBindingsResponse{}
		for {
			r, err := m.ListBindings(ctx, connect.NewRequest(req))
			if err != nil {
				return err
			}
			all.Bindings = append(all.Bindings, r.Msg.Bindings...)
			if req.After = r.Msg.Next; req.After == "" {
				break
			}
		}
		var rows [][]any
		for _, b := range all.Bindings {
			rows = append(rows, []any{b.Vm, b.Hypervisor, b.Epoch, b.State, addresses(b), len(b.Anchors), b.Move, at(b.ExpiresAtNs)})
		}
		return e.print(all, "VM HYPERVISOR EPOCH STATE ADDRESSES ANCHORS MOVE EXPIRES", rows)
	})
	c.Flags().StringVar(&req.Hypervisor, "hypervisor", "", "only VMs that this hypervisor serves")
	return c
}

func addresses(b *v1.Binding) []string {
	var out []string
	for _, s := range b.Addresses {
		out = append(out, s.Address)
	}
	return out
}

func (e *env) binding() *cobra.Command {
	c := &cobra.Command{Use: "binding", Short: "one VM's binding"}
	c.AddCommand(command("show VM", "show a binding with its addresses, anchors and routes", 1, func(ctx context.Context, args []string) error {
		m, err := e.management()
		if err != nil {
			return err
		}
		defer m.Close()
		r, err := m.GetBinding(ctx, connect.NewRequest(&v1.GetBindingRequest{Vm: args[0]}))
		if err != nil {
			return err
		}
		return e.showBinding(r.Msg.Binding)
	}))
	return c
}

// perSecond is an address's traffic, "-" where nobody has measured it.
func perSecond(s *v1.Slot) string {
	if s.PacketsPerSecond == nil {
		return "-"
	}
	return fmt.Sprintf("%.4g", *s.PacketsPerSecond)
}

// full names the router that has no room for the address, and since when.
func full(s *v1.Slot) string {
	if s.FullRouter == "" {
		return ""
	}
	return s.FullRouter + " since " + at(s.GaveWayNs)
}

func (e *env) showBinding(b *v1.Binding) error {
	if err := e.fields(b, [][2]any{{"vm", b.Vm}, {"mac", b.Mac}, {"hypervisor", b.Hypervisor}, {"locator", b.Locator}, {"epoch", b.Epoch},
		{"state", b.State}, {"move", b.Move}, {"registered", at(b.RegisteredAtNs)}, {"expires", at(b.ExpiresAtNs)}}); err != nil || e.json {
		return err
	}
	var rows [][]any
	for _, s := range b.Addresses {
		rows = append(rows, []any{s.Address, s.Current, s.Home, s.Delivery, s.State, perSecond(s), full(s)})
	}
	if err := e.print(nil, "ADDRESS CURRENT HOME DELIVERY STATE PACKETS/S FULL", rows); err != nil {
		return err
	}
	rows = nil
	for _, a := range b.Anchors {
		rows = append(rows, []any{a.Hypervisor, a.Epoch, a.Confirmed, a.Draining, a.Addresses, a.Error})
	}
	if err := e.print(nil, "ANCHOR EPOCH CONFIRMED DRAINING ADDRESSES ERROR", rows); err != nil {
		return err
	}
	rows = nil
	for _, r := range b.Routes {
		rows = append(rows, []any{r.Router, r.Epoch, r.Confirmed, r.Withdrawing, r.Error})
	}
	return e.print(nil, "ROUTER EPOCH CONFIRMED WITHDRAWING ERROR", rows)
}

func (e *env) hypervisors() *cobra.Command {
	return command("hypervisors", "list the hypervisors of the inventory", 0, func(ctx context.Context, _ []string) error {
		m, err := e.management()
		if err != nil {
			return err
		}
		defer m.Close()
		r, err := m.ListHypervisors(ctx, connect.NewRequest(&v1.ListHypervisorsRequest{}))
		if err != nil {
			return err
		}
		var rows [][]any
		for _, h := range r.Msg.Hypervisors {
			rows = append(rows, []any{h.Name, h.Up, h.Locators, h.Vms, h.Anchors, h.Outbox, h.Retiring, h.RestartCounter, at(h.LastHeardNs)})
		}
		return e.print(r.Msg, "HYPERVISOR UP LOCATORS VMS ANCHORS OUTBOX RETIRING RESTARTS HEARD", rows)
	})
}

func (e *env) hypervisor() *cobra.Command {
	c := &cobra.Command{Use: "hypervisor", Short: "empty or retire a hypervisor"}
	c.AddCommand(e.evacuate(), e.retire())
	return c
}

func (e *env) evacuate() *cobra.Command {
	req := &v1.EvacuateHypervisorRequest{}
	c := command("evacuate HYPERVISOR", "prepare moves for all its VMs", 1, func(ctx context.Context, args []string) error {
		m, err := e.management()
		if err != nil {
			return err
		}
		defer m.Close()
		req.Hypervisor = args[0]
		r, err := m.EvacuateHypervisor(ctx, connect.NewRequest(req))
		if err != nil {
			return err
		}
		if err := e.printMoves(r.Msg, r.Msg.Moves); err != nil || e.json {
			return err
		}
		return e.lines("problem", r.Msg.Problems)
	})
	c.Flags().StringSliceVar(&req.To, "to", nil, "destinations (default: all others, least loaded first)")
	c.Flags().StringVar(&req.Addresses, "addresses", "", "keep or renumber")
	c.Flags().StringVar(&req.Redirect, "redirect", "", "routed or translated")
	return c
}

func (e *env) retire() *cobra.Command {
	req := &v1.RetireHypervisorRequest{}
	c := command("retire HYPERVISOR", "take it out of service; refused while anything depends on it", 1, func(ctx context.Context, args []string) error {
		m, err := e.management()
		if err != nil {
			return err
		}
		defer m.Close()
		req.Hypervisor = args[0]
		r, err := m.RetireHypervisor(ctx, connect.NewRequest(req))
		if err != nil {
			return err
		}
		if e.json {
			return e.printJSON(r.Msg)
		}
		if err := e.lines("depends on it", r.Msg.Depends); err != nil {
			return err
		}
		if !r.Msg.Retired && !req.DryRun {
			return connect.NewError(connect.CodeFailedPrecondition, errDepends)
		}
		return e.lines("retired", []string{args[0]}[:btoi(r.Msg.Retired)])
	})
	c.Flags().BoolVar(&req.DryRun, "dry-run", false, "only list what depends on it")
	return c
}

func (e *env) reload() *cobra.Command {
	return command("reload", "make the management node read its inventory and keys again", 0, func(ctx context.Context, _ []string) error {
		m, err := e.management()
		if err != nil {
			return err
		}
		defer m.Close()
		r, err := m.Reload(ctx, connect.NewRequest(&v1.ReloadRequest{}))
		if err != nil {
			return err
		}
		if e.json {
			return e.printJSON(r.Msg)
		}
		return e.lines("changed", r.Msg.Changes)
	})
}
