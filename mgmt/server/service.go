package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/mgmt"
	"github.com/dpmip/dpmip/mobility"
)

// Service answers ManagementService and ReportService.
type Service struct {
	Loop *Loop
	// Reload reads inventory and keys again and says what has changed.
	Reread func(context.Context) ([]string, error)
	// Checks are what the daemon itself knows for Doctor.
	Checks func(context.Context) []*v1.Check

	routers routerReports
}

// failure gives an error of the Core the code that a caller can branch on.
func failure(err error) error {
	var se *mobility.StatusError
	var ce *connect.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &ce):
		return err
	case errors.Is(err, mgmt.ErrUnknown):
		return connect.NewError(connect.CodeNotFound, err)
	case errors.As(err, &se) && se.Status == mobility.StatusProhibited:
		return connect.NewError(connect.CodeFailedPrecondition, err)
	case errors.As(err, &se) && se.Status == mobility.StatusResources:
		return connect.NewError(connect.CodeResourceExhausted, err)
	case errors.As(err, &se):
		return connect.NewError(connect.CodeFailedPrecondition, err)
	case errors.Is(err, context.DeadlineExceeded):
		return connect.NewError(connect.CodeDeadlineExceeded, err)
	case errors.Is(err, context.Canceled):
		return connect.NewError(connect.CodeCanceled, err)
	case errors.Is(err, ErrStopping):
		return connect.NewError(connect.CodeUnavailable, err)
	}
	return connect.NewError(connect.CodeInternal, err)
}

func badArgument(format string, args ...any) error {
	return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf(format, args...))
}

func vmOf(s string) (mobility.VMID, error) {
	vm, err := mobility.ParseVMID(s)
	if err != nil {
		return vm, badArgument("vm: %w", err)
	}
	return vm, nil
}

// optionsOf reads the words of a move; an empty word is the default.
func optionsOf(mode, addresses, redirect, policy string) (o mobility.MoveOptions, err error) {
	for _, w := range []struct {
		word string
		into interface{ UnmarshalText([]byte) error }
	}{{mode, &o.Mode}, {addresses, &o.Addresses}, {redirect, &o.Redirect}, {policy, &o.New}} {
		if w.word == "" {
			continue
		}
		if err := w.into.UnmarshalText([]byte(w.word)); err != nil {
			return o, badArgument("%w", err)
		}
	}
	return o, nil
}

// ListBindings lists bindings page by page.
func (s *Service) ListBindings(ctx context.Context, r *connect.Request[v1.ListBindingsRequest]) (*connect.Response[v1.ListBindingsResponse], error) {
	out := &v1.ListBindingsResponse{}
	limit := int(r.Msg.GetLimit())
	err := s.Loop.Do(ctx, func(c *mgmt.Core) {
		for _, b := range c.Bindings(r.Msg.GetHypervisor(), r.Msg.GetAfter(), limit) {
			out.Bindings = append(out.Bindings, bindingOf(c, b))
		}
	})
	if n := len(out.Bindings); limit > 0 && n == limit {
		out.Next = out.Bindings[n-1].Vm
	}
	return connect.NewResponse(out), failure(err)
}

// GetBinding tells one binding.
func (s *Service) GetBinding(ctx context.Context, r *connect.Request[v1.GetBindingRequest]) (*connect.Response[v1.GetBindingResponse], error) {
	vm, err := vmOf(r.Msg.GetVm())
	if err != nil {
		return nil, err
	}
	out := &v1.GetBindingResponse{}
	err = s.Loop.Do(ctx, func(c *mgmt.Core) {
		if b := c.Binding(vm); b != nil {
			out.Binding = bindingOf(c, b)
		}
	})
	if err == nil && out.Binding == nil {
		err = fmt.Errorf("%w: vm %s", mgmt.ErrUnknown, vm)
	}
	return connect.NewResponse(out), failure(err)
}

// ListMoves lists moves, the newest first.
func (s *Service) ListMoves(ctx context.Context, r *connect.Request[v1.ListMovesRequest]) (*connect.Response[v1.ListMovesResponse], error) {
	var vm mobility.VMID
	if text := r.Msg.GetVm(); text != "" {
		var err error
		if vm, err = vmOf(text); err != nil {
			return nil, err
		}
	}
	out := &v1.ListMovesResponse{}
	err := s.Loop.Do(ctx, func(c *mgmt.Core) {
		for _, m := range c.Moves(vm, r.Msg.GetOpen(), int(r.Msg.GetLimit())) {
			out.Moves = append(out.Moves, moveOf(m))
		}
	})
	return connect.NewResponse(out), failure(err)
}

// WatchMove streams the record each time it changes, until the move has ended.
func (s *Service) WatchMove(ctx context.Context, r *connect.Request[v1.WatchMoveRequest], stream *connect.ServerStream[v1.Move]) error {
	vm, err := vmOf(r.Msg.GetVm())
	if err != nil {
		return err
	}
	var sent error
	err = s.Loop.Watch(ctx, vm, mobility.Epoch(r.Msg.GetEpoch()), func(m *mgmt.Move) bool {
		sent = stream.Send(moveOf(m))
		return sent == nil && !m.State.Ended()
	})
	return failure(errors.Join(err, sent))
}

// PrepareMove begins a move and waits as asked.
func (s *Service) PrepareMove(ctx context.Context, r *connect.Request[v1.PrepareMoveRequest]) (*connect.Response[v1.PrepareMoveResponse], error) {
	vm, err := vmOf(r.Msg.GetVm())
	if err != nil {
		return nil, err
	}
	o, err := optionsOf(r.Msg.GetMode(), r.Msg.GetAddresses(), r.Msg.GetRedirect(), r.Msg.GetNewConnections())
	if err != nil {
		return nil, err
	}
	d, err := s.Loop.Command(ctx, func(id mgmt.CommandID) mgmt.Event {
		return mgmt.Prepare{ID: id, VM: vm, To: r.Msg.GetTo(), Options: o}
	})
	if err != nil {
		return nil, failure(err)
	}
	m, err := s.settled(ctx, d.Move, r.Msg.GetWaitNs(), func(m *mgmt.Move) bool { return m.State != mgmt.MovePreparing && m.State != mgmt.MoveAborting })
	if err == nil && m.State == mgmt.MoveAborted {
		err = mobility.Refuse(mobility.StatusProhibited, "the move was aborted: %s", m.Error)
	}
	if err != nil {
		return nil, failure(err)
	}
	return connect.NewResponse(&v1.PrepareMoveResponse{Move: moveOf(m)}), nil
}

// settled waits until the move has come so far, at most wait; what it is then
// is the answer, and no error.
func (s *Service) settled(ctx context.Context, m *mgmt.Move, wait int64, enough func(*mgmt.Move) bool) (*mgmt.Move, error) {
	if wait <= 0 {
		return m, nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(wait))
	defer cancel()
	last := m
	err := s.Loop.Watch(ctx, m.VM, m.Epoch, func(now *mgmt.Move) bool {
		last = now
		return !enough(now)
	})
	if errors.Is(err, context.DeadlineExceeded) {
		err = nil
	}
	return last, err
}

// AbortMove begins the abort sequence and waits as asked.
func (s *Service) AbortMove(ctx context.Context, r *connect.Request[v1.AbortMoveRequest]) (*connect.Response[v1.AbortMoveResponse], error) {
	vm, err := vmOf(r.Msg.GetVm())
	if err != nil {
		return nil, err
	}
	d, err := s.Loop.Command(ctx, func(id mgmt.CommandID) mgmt.Event {
		return mgmt.Abort{ID: id, VM: vm, Epoch: mobility.Epoch(r.Msg.GetEpoch()), DestinationFencedBy: r.Msg.GetDestinationFencedBy()}
	})
	if err != nil {
		return nil, failure(err)
	}
	m, err := s.settled(ctx, d.Move, r.Msg.GetWaitNs(), func(m *mgmt.Move) bool { return m.State != mgmt.MoveAborting })
	if err != nil {
		return nil, failure(err)
	}
	return connect.NewResponse(&v1.AbortMoveResponse{Move: moveOf(m)}), nil
}

// SourceLost makes a move go without its source.
func (s *Service) SourceLost(ctx context.Context, r *connect.Request[v1.SourceLostRequest]) (*connect.Response[v1.SourceLostResponse], error) {
	vm, err := vmOf(r.Msg.GetVm())
	if err != nil {
		return nil, err
	}
	d, err := s.Loop.Command(ctx, func(id mgmt.CommandID) mgmt.Event {
		return mgmt.SourceLost{ID: id, VM: vm, To: r.Msg.GetTo(), FencedBy: r.Msg.GetFencedBy()}
	})
	if err != nil {
		return nil, failure(err)
	}
	return connect.NewResponse(&v1.SourceLostResponse{Move: moveOf(d.Move)}), nil
}

// EvacuateHypervisor prepares moves of all VMs of a hypervisor.
func (s *Service) EvacuateHypervisor(ctx context.Context, r *connect.Request[v1.EvacuateHypervisorRequest]) (*connect.Response[v1.EvacuateHypervisorResponse], error) {
	o, err := optionsOf("", r.Msg.GetAddresses(), r.Msg.GetRedirect(), "")
	if err != nil {
		return nil, err
	}
	d, err := s.Loop.Command(ctx, func(id mgmt.CommandID) mgmt.Event {
		return mgmt.Evacuate{ID: id, Hypervisor: r.Msg.GetHypervisor(), To: r.Msg.GetTo(), Options: o}
	})
	if err != nil {
		return nil, failure(err)
	}
	out := &v1.EvacuateHypervisorResponse{Problems: d.Problems}
	for _, m := range d.Moves {
		out.Moves = append(out.Moves, moveOf(m))
	}
	return connect.NewResponse(out), nil
}

// RetireHypervisor takes a hypervisor out of service, or says why not.
func (s *Service) RetireHypervisor(ctx context.Context, r *connect.Request[v1.RetireHypervisorRequest]) (*connect.Response[v1.RetireHypervisorResponse], error) {
	d, err := s.Loop.Command(ctx, func(id mgmt.CommandID) mgmt.Event {
		return mgmt.Retire{ID: id, Hypervisor: r.Msg.GetHypervisor(), DryRun: r.Msg.GetDryRun()}
	})
	if err != nil {
		return nil, failure(err)
	}
	return connect.NewResponse(&v1.RetireHypervisorResponse{Retired: d.Retired, Depends: d.Depends}), nil
}

// Reload reads inventory and keys again.
func (s *Service) Reload(ctx context.Context, _ *connect.Request[v1.ReloadRequest]) (*connect.Response[v1.ReloadResponse], error) {
	changes, err := s.Reread(ctx)
	if err != nil {
		return nil, connect.NewError(connect.CodeFailedPrecondition, err)
	}
	return connect.NewResponse(&v1.ReloadResponse{Changes: changes}), nil
}
