package server

import (
	"bytes"
	"context"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/mgmt/store"
	"github.com/dpmip/dpmip/mobility"
)

// prover opens a node's stream of tasks; its end is told once.
func (l *lab) prover(node string) (tasks chan *v1.ProofTask, ended chan error) {
	l.t.Helper()
	tasks, ended = make(chan *v1.ProofTask, 64), make(chan error, 1)
	ctx, cancel := context.WithCancel(l.ctx)
	s, err := l.reports.WatchProofs(ctx, request(&v1.WatchProofsRequest{Node: node, Can: []string{"send", "catch"}}))
	if err != nil {
		l.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s.Receive() {
			tasks <- s.Msg()
		}
		ended <- s.Err()
	}()
	l.t.Cleanup(func() { cancel(); <-done; s.Close() })
	return tasks, ended
}

// task waits for a node's task; others that come before it go back.
func (l *lab) task(from chan *v1.ProofTask, action string) *v1.ProofTask {
	l.t.Helper()
	late := time.After(10 * time.Second)
	for {
		select {
		case t := <-from:
			if t.Action == action {
				return t
			}
			from <- t
		case <-late:
			l.t.Fatalf("no task %q", action)
		}
	}
}

func TestProofs(t *testing.T) {
	l := newLab(t, &store.Memory{})
	ctx := t.Context()
	if r := l.reply(l.submit(hostA, register("vm1", slot))); r.Status != mobility.StatusAccepted {
		t.Fatal(r.Status)
	}
	a, _ := l.prover("a")
	b, _ := l.prover("b")
	if _, err := l.client.PrepareMove(ctx, request(&v1.PrepareMoveRequest{Vm: "vm1", To: "b"})); err != nil {
		t.Fatal(err)
	}
	// Delivery: b catches what a sends. Source: a catches what b sends.
	for _, x := range []struct {
		catcher      string
		catch, send  chan *v1.ProofTask
		wantedSource string
	}{{"b", b, a, ""}, {"a", a, b, slot}} {
		c, s := l.task(x.catch, "catch"), l.task(x.send, "send")
		if !bytes.Equal(c.Token, s.Token) || c.Destination != s.Destination || x.wantedSource != "" && s.Source != x.wantedSource {
			t.Errorf("to catch %v, to send %v", c, s)
		}
		_, err := l.reports.ReportProof(ctx, request(&v1.ReportProofRequest{Node: x.catcher, Token: c.Token, Seen: true, Source: s.Source}))
		if err != nil {
			t.Fatal(err)
		}
	}
	p, err := l.client.PrepareMove(ctx, request(&v1.PrepareMoveRequest{Vm: "vm1", To: "b", WaitNs: int64(time.Minute)}))
	if err != nil || p.Msg.Move.State != "ready" {
		t.Fatalf("%v, %v", p, err)
	}
	var got []string
	for _, x := range p.Msg.Move.Proofs {
		got = append(got, x.Kind+" "+x.From+" "+x.To+" "+x.State)
	}
	if d := cmp.Diff([]string{"delivery a b seen", "source b a seen"}, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if n := l.counter("dpmip_mgmt_proofs_total", "seen"); n != 1 {
		t.Errorf("%v proofs of a kind counted", n)
	}
}

func TestOneStreamANode(t *testing.T) {
	l := newLab(t, &store.Memory{})
	_, ended := l.prover("a")
	l.prover("a")
	select {
	case err := <-ended:
		if connect.CodeOf(err) != connect.CodeAborted {
			t.Errorf("the older stream ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("two streams of one node")
	}
	_, ended = l.prover("nobody")
	if err := <-ended; connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("a stream of nobody ended with %v", err)
	}
}

func TestProofReportsThatMakeNoSense(t *testing.T) {
	l := newLab(t, &store.Memory{})
	for name, r := range map[string]*v1.ReportProofRequest{
		"a short token": {Node: "a", Token: []byte{1}},
		"no address":    {Node: "a", Token: make([]byte, 16), Source: "here"},
	} {
		if _, err := l.reports.ReportProof(t.Context(), request(r)); connect.CodeOf(err) != connect.CodeInvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Nobody waits for it: not worth an error.
	if _, err := l.reports.ReportProof(t.Context(), request(&v1.ReportProofRequest{Node: "a", Token: make([]byte, 16), Seen: true})); err != nil {
		t.Error(err)
	}
}
