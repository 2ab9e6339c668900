package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
)

var errDepends = errors.New("not retired: the above depends on it")

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (e *env) lines(label string, list []string) error {
	for _, l := range list {
		if _, err := fmt.Fprintf(e.stdout, "%s: %s\n", label, l); err != nil {
			return err
		}
	}
	return nil
}

func (e *env) printMoves(m proto.Message, moves []*v1.Move) error {
	var rows [][]any
	for _, m := range moves {
		rows = append(rows, []any{m.Vm, m.Epoch, m.From, m.To, m.Mode, m.Addresses, m.Redirect, m.NewConnections, m.State, m.Error})
	}
	return e.print(m, "VM EPOCH FROM TO MODE ADDRESSES REDIRECT NEW STATE ERROR", rows)
}

// printMove prints one move; where its end was waited for and has not come, the
// exit code says so.
func (e *env) printMove(m *v1.Move, wait time.Duration, end string) error {
	if err := e.printMoves(m, []*v1.Move{m}); err != nil {
		return err
	}
	if wait > 0 && m.State != end {
		return fmt.Errorf("%w: the move is %s", errNotYet, m.State)
	}
	return nil
}

func (e *env) moves() *cobra.Command {
	req := &v1.ListMovesRequest{}
	c := command("moves", "list moves, newest first", 0, func(ctx context.Context, _ []string) error {
		m, err := e.management()
		if err != nil {
			return err
		}
		defer m.Close()
		r, err := m.ListMoves(ctx, connect.NewRequest(req))
		if err != nil {
			return err
		}
		return e.printMoves(r.Msg, r.Msg.Moves)
	})
	c.Flags().StringVar(&req.Vm, "vm", "", "only this VM's")
	c.Flags().BoolVar(&req.Open, "open", false, "only those that have not ended")
	c.Flags().Uint32Var(&req.Limit, "limit", 100, "how many at most")
	return c
}

func (e *env) move() *cobra.Command {
	req := &v1.SourceLostRequest{}
	lost := false
	c := &cobra.Command{
		Use: "move", Short: "prepare or abort a move; --source-lost VM: commit without its source",
		Args: func(_ *cobra.Command, args []string) error {
			if !lost || len(args) != 1 {
				return usagef("move: want prepare, abort, or --source-lost VM --to HYPERVISOR --fenced-by WHO")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			req.Vm = args[0]
			return e.sourceLost(c.Context(), req)
		},
	}
	c.Flags().BoolVar(&lost, "source-lost", false, "the source is dead and fenced: COMMIT without it, the routers take over")
	c.Flags().StringVar(&req.To, "to", "", "destination hypervisor")
	c.Flags().StringVar(&req.FencedBy, "fenced-by", "", "who vouches that the source no longer runs the VM; kept in the receipt")
	c.AddCommand(e.movePrepare(), e.moveAbort())
	return c
}

func (e *env) sourceLost(ctx context.Context, req *v1.SourceLostRequest) error {
	m, err := e.management()
	if err != nil {
		return err
	}
	defer m.Close()
	r, err := m.SourceLost(ctx, connect.NewRequest(req))
	if err != nil {
		return err
	}
	return e.printMoves(r.Msg.Move, []*v1.Move{r.Msg.Move})
}

func (e *env) movePrepare() *cobra.Command {
	req := &v1.PrepareMoveRequest{}
	var wait time.Duration
	c := command("prepare VM", "prepare a move; when it is ready the VM may be switched", 1, func(ctx context.Context, args []string) error {
		m, err := e.management()
		if err != nil {
			return err
		}
		defer m.Close()
		req.Vm, req.WaitNs = args[0], wait.Nanoseconds()
		r, err := m.PrepareMove(ctx, connect.NewRequest(req))
		if err != nil {
			return err
		}
		return e.printMove(r.Msg.Move, wait, "ready")
	})
	c.Flags().StringVar(&req.To, "to", "", "destination hypervisor (required)")
	c.Flags().StringVar(&req.Mode, "mode", "hot", "hot, warm or cold")
	c.Flags().StringVar(&req.Addresses, "addresses", "", "keep or renumber (default: the inventory's policy)")
	c.Flags().StringVar(&req.Redirect, "redirect", "", "routed or translated (default: the inventory's policy)")
	c.Flags().StringVar(&req.NewConnections, "new", "", "redirect, drop or reject new connections to old addresses (default: the inventory's policy)")
	_ = c.MarkFlagRequired("to")
	return waitFlag(c, &wait, 10*time.Second)
}

func (e *env) moveAbort() *cobra.Command {
	req := &v1.AbortMoveRequest{}
	var wait time.Duration
	var c *cobra.Command
	c = command("abort VM", "abort a move that has not committed", 1, func(ctx context.Context, args []string) error {
		if c.Flags().Changed("destination-fenced") && req.DestinationFencedBy == "" {
			return usagef("move abort: --destination-fenced: say who vouches for it")
		}
		m, err := e.management()
		if err != nil {
			return err
		}
		defer m.Close()
		req.Vm, req.WaitNs = args[0], wait.Nanoseconds()
		r, err := m.AbortMove(ctx, connect.NewRequest(req))
		if err != nil {
			return err
		}
		return e.printMove(r.Msg.Move, wait, "aborted")
	})
	c.Flags().Uint32Var(&req.Epoch, "epoch", 0, "only if this is the move's epoch (0: whichever is open)")
	c.Flags().StringVar(&req.DestinationFencedBy, "destination-fenced", "", "who vouches that the destination neither holds nor runs the VM any more: it is not asked")
	return waitFlag(c, &wait, 10*time.Second)
}

func (e *env) receipts() *cobra.Command {
	req := &v1.ListReceiptsRequest{}
	c := command("receipts", "list the receipts of ended moves", 0, func(ctx context.Context, _ []string) error {
		m, err := e.management()
		if err != nil {
			return err
		}
		defer m.Close()
		r, err := m.ListReceipts(ctx, connect.NewRequest(req))
		if err != nil {
			return err
		}
		var rows [][]any
		for _, x := range r.Msg.Receipts {
			rows = append(rows, []any{x.Move.Vm, x.Move.Epoch, x.Move.From, x.Move.To, x.Move.State, x.Final, signature(x), at(x.SignedAtNs)})
		}
		return e.print(r.Msg, "VM EPOCH FROM TO STATE FINAL SIGNATURE SIGNED", rows)
	})
	c.Flags().StringVar(&req.Vm, "vm", "", "only this VM's")
	c.Flags().Uint32Var(&req.Limit, "limit", 100, "how many at most")
	return c
}

// signature checks a receipt against the public key that it carries; whether
// that is the management node's key is the reader's to compare.
func signature(r *v1.Receipt) string {
	if len(r.PublicKey) == ed25519.PublicKeySize && ed25519.Verify(r.PublicKey, r.Signed, r.Signature) {
		return "good"
	}
	return "BAD"
}

func (e *env) receipt() *cobra.Command {
	c := &cobra.Command{Use: "receipt", Short: "one move's receipt"}
	req := &v1.GetReceiptRequest{}
	show := command("show VM", "show what a move cost, and check its signature", 1, func(ctx context.Context, args []string) error {
		m, err := e.management()
		if err != nil {
			return err
		}
		defer m.Close()
		req.Vm = args[0]
		r, err := m.GetReceipt(ctx, connect.NewRequest(req))
		if err != nil {
			return err
		}
		return e.showReceipt(r.Msg.Receipt)
	})
	show.Flags().Uint32Var(&req.Epoch, "epoch", 0, "the move's epoch (0: the newest)")
	c.AddCommand(show)
	return c
}

func (e *env) showReceipt(x *v1.Receipt) error {
	mv := x.Move
	if err := e.fields(x, [][2]any{{"vm", mv.Vm}, {"epoch", mv.Epoch}, {"from", mv.From}, {"to", mv.To},
		{"asked", strings.Join([]string{mv.Mode, mv.Addresses, mv.Redirect, mv.NewConnections}, ", ")}, {"state", mv.State},
		{"final", x.Final}, {"signature", signature(x)}, {"key", fmt.Sprintf("%x", x.PublicKey)}}); err != nil || e.json {
		return err
	}
	var rows [][]any
	var start int64
	for i, p := range mv.Phases {
		if i == 0 {
			start = p.AtNs
		}
		rows = append(rows, []any{p.Name, at(p.AtNs), "+" + span(p.AtNs-start), p.Detail})
	}
	if err := e.print(nil, "PHASE AT SINCE DETAIL", rows); err != nil {
		return err
	}
	rows = nil
	for _, p := range mv.Proofs {
		rows = append(rows, []any{p.Kind, p.Address, p.From, p.To, p.State, span(p.TookNs), p.Detail})
	}
	if err := e.print(nil, "PROOF ADDRESS FROM TO RESULT TOOK DETAIL", rows); err != nil {
		return err
	}
	rows = nil
	for _, h := range x.Holders {
		rows = append(rows, []any{h.Hypervisor, h.Role, h.Placement, h.RedirectedPackets, h.RedirectedBytes, h.HeldPackets, h.HoldDrops, span(h.MaxHoldNs)})
	}
	if err := e.print(nil, "HYPERVISOR ROLE PLACEMENT REDIRECTED BYTES HELD DROPPED MAX-HOLD", rows); err != nil {
		return err
	}
	if err := e.showNames(x); err != nil {
		return err
	}
	f := x.Endpoints
	if f == nil {
		return e.lines("endpoints", []string{"nobody counted"})
	}
	if err := e.print(nil, "SENT RECEIVED LOST DUPLICATED REORDERED BLACKOUT CONNECTIONS SURVIVED COUNTED-BY",
		[][]any{{f.Sent, f.Received, f.Lost, f.Duplicated, f.Reordered, span(f.BlackoutNs), f.Connections, f.Survived, f.CountedBy}}); err != nil {
		return err
	}
	return e.showDirect(f.Direct)
}
