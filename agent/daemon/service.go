package daemon

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"connectrpc.com/connect"

	dpmipv1 "github.com/dpmip/dpmip/api/dpmip/v1"

	"github.com/dpmip/dpmip/agent"
	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/mobility"
)

// Service is the agent's control: AgentService of the API.
type Service struct {
	Loop   *Loop
	Worker *Worker
	Checks func(context.Context) []*dpmipv1.Check
	// Transport gives the transport's counters, for the drops.
	Transport func() map[string]uint64
	Version   string
}

// AttachVM registers a VM.
func (s *Service) AttachVM(ctx context.Context, r *connect.Request[dpmipv1.AttachVMRequest]) (*connect.Response[dpmipv1.AttachVMResponse], error) {
	e := agent.Attach{Port: r.Msg.Port, Wait: time.Duration(r.Msg.WaitNs)}
	var err error
	if e.VM, err = mobility.ParseVMID(r.Msg.Vm); err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	if r.Msg.Mac != "" {
		if e.MAC, err = mobility.ParseMAC(r.Msg.Mac); err != nil {
			return nil, connect.NewError(connect.CodeInvalidArgument, err)
		}
	}
	for _, text := range r.Msg.Addresses {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return nil, connect.NewError(connect.CodeInvalidArgument, err)
		}
		e.Addresses = append(e.Addresses, a)
	}
	a, err := s.Loop.Command(ctx, func(id agent.CommandID) agent.Event { e.ID = id; return e })
	if err != nil {
		return nil, refusal(err)
	}
	return connect.NewResponse(&dpmipv1.AttachVMResponse{Vm: vm(a.VM)}), nil
}

// After arming, what was decided for the VM before the redirect acted is still on
// its way through the queues, and reaches the VM while its port is there: a
// release answers once the device says that it is through, and waits releaseSettle
// where the device cannot tell within fenceLimit.
const (
	releaseSettle = 2 * time.Millisecond
	fenceLimit    = 250 * time.Millisecond
)

// ReleaseVM arms the VM's redirect, and lets what was decided before arrive.
func (s *Service) ReleaseVM(ctx context.Context, r *connect.Request[dpmipv1.ReleaseVMRequest]) (*connect.Response[dpmipv1.ReleaseVMResponse], error) {
	id, err := mobility.ParseVMID(r.Msg.Vm)
	if err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	a, err := s.Loop.Command(ctx, func(c agent.CommandID) agent.Event { return agent.Release{ID: c, VM: id} })
	if err != nil {
		return nil, refusal(err)
	}
	s.passThrough(ctx)
	return connect.NewResponse(&dpmipv1.ReleaseVMResponse{Epoch: uint32(a.Epoch), ArmedNs: unixNano(a.ArmedAt), TookNs: a.Took.Nanoseconds()}), nil
}

// passThrough returns when what was judged before has passed. If the caller goes
// meanwhile, the redirect is armed all the same.
func (s *Service) passThrough(ctx context.Context) {
	if f, ok := s.Worker.hands.Device.(hwabstraction.Fencer); ok {
		limited, cancel := context.WithTimeout(ctx, fenceLimit)
		defer cancel()
		err := f.Fence(limited)
		if err == nil {
			return
		}
		s.Worker.log.Warn("cannot tell when the queues are empty, waiting a moment instead", "error", err, "wait", releaseSettle)
	}
	settled := time.NewTimer(releaseSettle)
	defer settled.Stop()
	select {
	case <-settled.C:
	case <-ctx.Done():
	}
}

// ActivateVM releases the hold and starts the COMMIT.
func (s *Service) ActivateVM(ctx context.Context, r *connect.Request[dpmipv1.ActivateVMRequest]) (*connect.Response[dpmipv1.ActivateVMResponse], error) {
	id, err := mobility.ParseVMID(r.Msg.Vm)
	if err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	a, err := s.Loop.Command(ctx, func(c agent.CommandID) agent.Event {
		return agent.Activate{ID: c, VM: id, Port: r.Msg.Port, Wait: time.Duration(r.Msg.WaitNs)}
	})
	if err != nil {
		return nil, refusal(err)
	}
	return connect.NewResponse(&dpmipv1.ActivateVMResponse{
		Epoch: uint32(a.Epoch), Addresses: texts(a.Addresses), OldAddresses: texts(a.Olds), Committed: a.Committed, TookNs: a.Took.Nanoseconds(),
	}), nil
}

// DetachVM ends a VM.
func (s *Service) DetachVM(ctx context.Context, r *connect.Request[dpmipv1.DetachVMRequest]) (*connect.Response[dpmipv1.DetachVMResponse], error) {
	id, err := mobility.ParseVMID(r.Msg.Vm)
	if err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	_, err = s.Loop.Command(ctx, func(c agent.CommandID) agent.Event {
		return agent.Detach{ID: c, VM: id, Wait: time.Duration(r.Msg.WaitNs)}
	})
	if err != nil {
		return nil, refusal(err)
	}
	return connect.NewResponse(&dpmipv1.DetachVMResponse{}), nil
}

// ListVMs lists what the agent knows of each VM, and what is held for it.
func (s *Service) ListVMs(ctx context.Context, _ *connect.Request[dpmipv1.ListVMsRequest]) (*connect.Response[dpmipv1.ListVMsResponse], error) {
	views, err := s.Loop.Views(ctx)
	if err != nil {
		return nil, refusal(err)
	}
	out := &dpmipv1.ListVMsResponse{}
	for i := range views {
		out.Vms = append(out.Vms, vm(&views[i]))
	}
	ok := s.Worker.Call(ctx, func(_ context.Context, h *agent.Hands) {
		for i := range views {
			if g, err := h.Device.Group(views[i].Group()); err == nil {
				out.Vms[i].Held = g.HeldNow
			}
		}
	})
	if !ok {
		return nil, refusal(ErrStopping)
	}
	return connect.NewResponse(out), nil
}

// ListRules reads the rules and their counters back from the device.
func (s *Service) ListRules(ctx context.Context, r *connect.Request[dpmipv1.ListRulesRequest]) (*connect.Response[dpmipv1.ListRulesResponse], error) {
	out := &dpmipv1.ListRulesResponse{}
	var err error
	ok := s.Worker.Call(ctx, func(ctx context.Context, h *agent.Hands) { out.Rules, err = rules(ctx, h, r.Msg.Kind) })
	if !ok {
		err = ErrStopping
	}
	if err != nil {
		return nil, refusal(err)
	}
	return connect.NewResponse(out), nil
}

// ListDrops gives what was dropped on purpose, by the device and the transport.
func (s *Service) ListDrops(ctx context.Context, _ *connect.Request[dpmipv1.ListDropsRequest]) (*connect.Response[dpmipv1.ListDropsResponse], error) {
	out := &dpmipv1.ListDropsResponse{Drops: map[string]uint64{}}
	var err error
	ok := s.Worker.Call(ctx, func(ctx context.Context, h *agent.Hands) {
		var d hwabstraction.Drops
		if d, err = h.Device.Drops(ctx); err == nil {
			for reason, n := range d {
				out.Drops[reason] = n
			}
		}
	})
	if !ok {
		err = ErrStopping
	}
	if err != nil {
		return nil, refusal(err)
	}
	if s.Transport != nil {
		for event, n := range s.Transport() {
			if n > 0 {
				out.Drops["transport_"+event] = n
			}
		}
	}
	return connect.NewResponse(out), nil
}

// Doctor says what is well and what is not.
func (s *Service) Doctor(ctx context.Context, _ *connect.Request[dpmipv1.DoctorRequest]) (*connect.Response[dpmipv1.DoctorResponse], error) {
	return connect.NewResponse(&dpmipv1.DoctorResponse{Checks: s.Checks(ctx), Version: s.Version}), nil
}

// refusal gives an error the code that callers branch on.
func refusal(err error) error {
	var command *agent.CommandError
	var status *mobility.StatusError
	code := connect.CodeInternal
	switch {
	case errors.Is(err, ErrStopping):
		code = connect.CodeUnavailable
	case errors.Is(err, context.DeadlineExceeded):
		code = connect.CodeDeadlineExceeded
	case errors.Is(err, context.Canceled):
		code = connect.CodeCanceled
	case errors.As(err, &command):
		code = map[agent.CommandCode]connect.Code{
			agent.CommandInvalid: connect.CodeInvalidArgument, agent.CommandNotFound: connect.CodeNotFound,
			agent.CommandNotReady: connect.CodeFailedPrecondition, agent.CommandDevice: connect.CodeInternal,
			agent.CommandFull: connect.CodeResourceExhausted,
		}[command.Code]
	case errors.As(err, &status) && status.Status == mobility.StatusResources:
		code = connect.CodeResourceExhausted
	case errors.As(err, &status):
		code = connect.CodePermissionDenied
	}
	return connect.NewError(code, err)
}
