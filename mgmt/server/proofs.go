package server

import (
	"context"
	"fmt"
	"net/netip"

	"connectrpc.com/connect"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/internal/probe"
	"github.com/dpmip/dpmip/mgmt"
)

// proverBuffer is how many tasks may wait for a slow node before its stream is
// ended: it comes again and is told everything.
const proverBuffer = 4096

// proverStream is a node's open WatchProofs. Only the loop sends to tasks and
// closes it.
type proverStream struct {
	node  string
	tasks chan mgmt.Task
}

// prove hands a task to its node's stream.
func (l *Loop) prove(e mgmt.Prove) {
	s := l.provers[e.To]
	if s == nil {
		return
	}
	select {
	case s.tasks <- e.Task:
	default:
		delete(l.provers, e.To)
		close(s.tasks)
	}
}

// openProver makes the stream the node's, and ends the one before it.
func (l *Loop) openProver(ctx context.Context, node string, can []string) (*proverStream, error) {
	s := &proverStream{node: node, tasks: make(chan mgmt.Task, proverBuffer)}
	known := false
	err := l.Do(ctx, func(c *mgmt.Core) {
		if known = c.Inventory().Known(node); !known {
			return
		}
		if old := l.provers[node]; old != nil {
			close(old.tasks)
		}
		l.provers[node] = s
		l.step(mgmt.ProverUp{Node: node, Can: can})
	})
	if err == nil && !known {
		err = fmt.Errorf("%w: no hypervisor, router or observer is called %q", mgmt.ErrUnknown, node)
	}
	return s, err
}

// closeProver ends the stream unless a newer one has.
func (l *Loop) closeProver(ctx context.Context, s *proverStream) {
	_ = l.Do(context.WithoutCancel(ctx), func(*mgmt.Core) {
		if l.provers[s.node] == s {
			delete(l.provers, s.node)
		}
		if l.provers[s.node] == nil {
			l.step(mgmt.ProverDown{Node: s.node})
		}
	})
}

// WatchProofs streams a node's tasks. Over TLS a node may watch its own only.
func (s *Service) WatchProofs(ctx context.Context, r *connect.Request[v1.WatchProofsRequest], stream *connect.ServerStream[v1.ProofTask]) error {
	if err := mayReport(ctx, r.Msg.GetNode()); err != nil {
		return err
	}
	p, err := s.Loop.openProver(ctx, r.Msg.GetNode(), r.Msg.GetCan())
	if err != nil {
		return failure(err)
	}
	defer s.Loop.closeProver(ctx, p)
	if err := stream.Send(nil); err != nil { // the headers: the caller knows that it is heard
		return err
	}
	for {
		select {
		case t, more := <-p.tasks:
			if !more {
				return connect.NewError(connect.CodeAborted, fmt.Errorf("a newer stream of %s, or it was too slow", p.node))
			}
			if err := stream.Send(taskOf(t)); err != nil {
				return err
			}
		case <-s.Loop.stopped:
			return failure(ErrStopping)
		case <-ctx.Done():
			return failure(ctx.Err())
		}
	}
}

// ReportProof takes what a node has seen for a task.
func (s *Service) ReportProof(ctx context.Context, r *connect.Request[v1.ReportProofRequest]) (*connect.Response[v1.ReportProofResponse], error) {
	if err := mayReport(ctx, r.Msg.GetNode()); err != nil {
		return nil, err
	}
	e := mgmt.ProofReport{Node: r.Msg.GetNode(), Seen: r.Msg.GetSeen(), Detail: r.Msg.GetDetail()}
	var err error
	if e.Token, err = probe.TokenOf(r.Msg.GetToken()); err != nil {
		return nil, badArgument("token: %w", err)
	}
	if text := r.Msg.GetSource(); text != "" {
		if e.Source, err = netip.ParseAddr(text); err != nil {
			return nil, badArgument("source: %w", err)
		}
	}
	err = s.Loop.Do(ctx, func(*mgmt.Core) { s.Loop.step(e) })
	return connect.NewResponse(&v1.ReportProofResponse{}), failure(err)
}

func taskOf(t mgmt.Task) *v1.ProofTask {
	return &v1.ProofTask{Token: t.Token[:], Action: t.Action.String(), Source: text(t.Source), Destination: text(t.Destination), LastsNs: t.Lasts.Nanoseconds()}
}

func text(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func proofsOf(list []mgmt.Proof) []*v1.Proof {
	var out []*v1.Proof
	for _, p := range list {
		out = append(out, &v1.Proof{Kind: p.Kind.String(), Address: p.Address.String(), From: p.From, To: p.To, State: p.State.String(),
			Required: p.Required, AskedNs: nanos(p.Asked), TookNs: p.Took.Nanoseconds(), Detail: p.Detail})
	}
	return out
}
