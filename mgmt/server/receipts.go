package server

import (
	"context"
	"fmt"

	"connectrpc.com/connect"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/mgmt"
	"github.com/dpmip/dpmip/mobility"
)

// ListReceipts lists the receipts of moves that have committed or were aborted, the newest first.
func (s *Service) ListReceipts(ctx context.Context, r *connect.Request[v1.ListReceiptsRequest]) (*connect.Response[v1.ListReceiptsResponse], error) {
	var vm mobility.VMID
	if text := r.Msg.GetVm(); text != "" {
		var err error
		if vm, err = vmOf(text); err != nil {
			return nil, err
		}
	}
	out := &v1.ListReceiptsResponse{}
	limit := int(r.Msg.GetLimit())
	err := s.Loop.Do(ctx, func(c *mgmt.Core) {
		for _, m := range c.Moves(vm, false, 0) {
			if m.Receipt != nil && (limit == 0 || len(out.Receipts) < limit) {
				out.Receipts = append(out.Receipts, receiptOf(m))
			}
		}
	})
	return connect.NewResponse(out), failure(err)
}

// GetReceipt tells one receipt; epoch 0 is the newest move's.
func (s *Service) GetReceipt(ctx context.Context, r *connect.Request[v1.GetReceiptRequest]) (*connect.Response[v1.GetReceiptResponse], error) {
	vm, err := vmOf(r.Msg.GetVm())
	if err != nil {
		return nil, err
	}
	out := &v1.GetReceiptResponse{}
	err = s.Loop.Do(ctx, func(c *mgmt.Core) {
		if m := c.Move(vm, mobility.Epoch(r.Msg.GetEpoch())); m != nil && m.Receipt != nil {
			out.Receipt = receiptOf(m)
		}
	})
	if err == nil && out.Receipt == nil {
		err = fmt.Errorf("%w: no receipt for vm %s, epoch %d: a move has one when it has committed or was aborted", mgmt.ErrUnknown, vm, r.Msg.GetEpoch())
	}
	return connect.NewResponse(out), failure(err)
}

// AddEndpointFigures adds to a receipt what endpoints counted.
func (s *Service) AddEndpointFigures(ctx context.Context, r *connect.Request[v1.AddEndpointFiguresRequest]) (*connect.Response[v1.AddEndpointFiguresResponse], error) {
	vm, err := vmOf(r.Msg.GetVm())
	if err != nil {
		return nil, err
	}
	if r.Msg.Figures == nil {
		return nil, badArgument("figures: missing")
	}
	_, err = s.Loop.Command(ctx, func(id mgmt.CommandID) mgmt.Event {
		return mgmt.AddFigures{ID: id, VM: vm, Epoch: mobility.Epoch(r.Msg.GetEpoch()), Figures: figuresOf(r.Msg.Figures)}
	})
	return connect.NewResponse(&v1.AddEndpointFiguresResponse{}), failure(err)
}

// ReportMove takes what an agent counted for one move. Over TLS an agent may
// speak for itself only; see Authorise.
func (s *Service) ReportMove(ctx context.Context, r *connect.Request[v1.ReportMoveRequest]) (*connect.Response[v1.ReportMoveResponse], error) {
	vm, err := vmOf(r.Msg.GetVm())
	if err != nil {
		return nil, err
	}
	if r.Msg.Report == nil {
		return nil, badArgument("report: missing")
	}
	if err := mayReport(ctx, r.Msg.Report.GetHypervisor()); err != nil {
		return nil, err
	}
	_, err = s.Loop.Command(ctx, func(id mgmt.CommandID) mgmt.Event {
		return mgmt.Report{ID: id, VM: vm, Epoch: mobility.Epoch(r.Msg.GetEpoch()), Holder: holderOf(r.Msg.Report)}
	})
	return connect.NewResponse(&v1.ReportMoveResponse{}), failure(err)
}
