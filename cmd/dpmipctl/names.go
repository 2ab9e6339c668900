package main

import (
	"context"
	"fmt"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
)

func (e *env) names() *cobra.Command {
	req := &v1.ListNamesRequest{}
	c := command("names", "list what the DNS is to say about each VM, and whether it is known to", 0, func(ctx context.Context, _ []string) error {
		m, err := e.management()
		if err != nil {
			return err
		}
		defer m.Close()
		r, err := m.ListNames(ctx, connect.NewRequest(req))
		if err != nil {
			return err
		}
		var rows [][]any
		for _, o := range r.Msg.Orders {
			state := "under way"
			switch {
			case o.Trouble != "":
				state = "TROUBLE"
			case o.Settled:
				state = "proved"
			}
			rows = append(rows, []any{o.Vm, o.Names, o.Published, o.Stage, fmt.Sprintf("%d.%d", o.Epoch, o.Step), state, at(o.OrderedNs), o.Trouble})
		}
		return e.print(r.Msg, "VM NAMES PUBLISHED STAGE VERSION STATE ORDERED TROUBLE", rows)
	})
	c.Flags().StringVar(&req.Vm, "vm", "", "only this VM's")
	c.Flags().BoolVar(&req.Troubled, "troubled", false, "only those that the DNS is not right about")
	return c
}

// showNames prints what the DNS was told in a move, and who served which answer
// when.
func (e *env) showNames(x *v1.Receipt) error {
	if len(x.Names) == 0 {
		return nil
	}
	var stages, answers [][]any
	for _, n := range x.Names {
		version := fmt.Sprintf("%d.%d", n.Epoch, n.Step)
		stages = append(stages, []any{n.Stage, n.Zone, n.By, version, n.Outcome, at(n.OrderedNs), at(n.PublishedNs), n.Failure})
		for _, s := range n.Servers {
			for _, a := range s.Answers {
				answers = append(answers, []any{n.Stage, s.Server, s.Serial, a.Name, a.Type, a.Ttl, strings.Join(a.Data, " "), at(a.AtNs)})
			}
			if s.Missing != "" {
				answers = append(answers, []any{n.Stage, s.Server, s.Serial, "", "", "", "missing: " + s.Missing, at(s.SeenNs)})
			}
		}
	}
	if err := e.print(nil, "NAMES ZONE BY VERSION OUTCOME ORDERED PUBLISHED FAILURE", stages); err != nil {
		return err
	}
	return e.print(nil, "NAMES SERVER SERIAL NAME TYPE TTL ANSWER SERVED", answers)
}

// showDirect prints the ways that new connections by name took.
func (e *env) showDirect(list []*v1.DirectShare) error {
	if len(list) == 0 {
		return nil
	}
	var rows [][]any
	for _, s := range list {
		share := "-"
		if s.Attempted > 0 {
			share = fmt.Sprintf("%d%%", 100*s.Direct/s.Attempted)
		}
		rows = append(rows, []any{span(s.SinceCommitNs), s.Attempted, s.Direct, s.Redirected, s.Failed, share})
	}
	return e.print(nil, "SINCE-COMMIT ATTEMPTED DIRECT REDIRECTED FAILED SHARE", rows)
}
