package main

import (
	"cmp"
	"context"
	"fmt"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
)

func compareText(a, b any) int { return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)) }

func (e *env) printVMs(m proto.Message, vms []*v1.VM) error {
	var rows [][]any
	for _, v := range vms {
		rows = append(rows, []any{v.Vm, v.Role, v.Port, v.Epoch, v.Addresses, v.OldAddresses, v.Registered, v.Armed, v.Active, v.Held, v.Error})
	}
	return e.print(m, "VM ROLE PORT EPOCH ADDRESSES OLD REGISTERED ARMED ACTIVE HELD ERROR", rows)
}

func (e *env) routes() *cobra.Command {
	return command("routes", "list a router's host routes as its kernel has them", 0, func(ctx context.Context, _ []string) error {
		c, err := e.routerClient()
		if err != nil {
			return err
		}
		r, err := c.ListRoutes(ctx, connect.NewRequest(&v1.ListRoutesRequest{}))
		if err != nil {
			return err
		}
		var rows [][]any
		for _, x := range r.Msg.Routes {
			rows = append(rows, []any{x.Address, x.Locator, x.NextHop, x.Device, x.Metric, x.Vm, x.Epoch, x.Installed, at(x.SinceNs), x.Error})
		}
		return e.print(r.Msg, "ADDRESS LOCATOR NEXT-HOP DEVICE METRIC VM EPOCH INSTALLED SINCE ERROR", rows)
	})
}

func (e *env) doctor() *cobra.Command {
	where := "mgmt"
	c := command("doctor", "explain what is missing where a daemon runs", 0, func(ctx context.Context, _ []string) error {
		r, err := e.askDoctor(ctx, where)
		if err != nil {
			return err
		}
		var rows [][]any
		failed := false
		for _, x := range r.Checks {
			failed = failed || x.State == "failed"
			rows = append(rows, []any{x.Name, x.State, x.Found, x.Advice})
		}
		if err := e.print(r, "CHECK STATE FOUND ADVICE", rows); err != nil {
			return err
		}
		if failed {
			return errUnhealthy
		}
		return nil
	})
	c.Flags().StringVar(&where, "at", where, "mgmt, agent or router")
	return c
}

// doctorCall is the Doctor method that each of the three services has.
type doctorCall func(context.Context, *connect.Request[v1.DoctorRequest]) (*connect.Response[v1.DoctorResponse], error)

func (e *env) askDoctor(ctx context.Context, where string) (*v1.DoctorResponse, error) {
	call, err := e.doctorAt(where)
	if err != nil {
		return nil, err
	}
	r, err := call(ctx, connect.NewRequest(&v1.DoctorRequest{}))
	if err != nil {
		return nil, err
	}
	return r.Msg, nil
}

func (e *env) doctorAt(where string) (doctorCall, error) {
	switch where {
	case "mgmt":
		c, err := e.management()
		if err != nil {
			return nil, err
		}
		return c.Doctor, nil
	case "agent":
		c, err := e.agentClient()
		if err != nil {
			return nil, err
		}
		return c.Doctor, nil
	case "router":
		c, err := e.routerClient()
		if err != nil {
			return nil, err
		}
		return c.Doctor, nil
	}
	return nil, usagef("doctor: --at %q: want mgmt, agent or router", where)
}
