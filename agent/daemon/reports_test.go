package daemon

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"connectrpc.com/connect"

	dpmipv1 "github.com/dpmip/dpmip/api/dpmip/v1"

	"github.com/dpmip/dpmip/agent"
	"github.com/dpmip/dpmip/mobility"
)

// judge takes reports, and knows no move of vm "unknown".
type judge struct{ taken chan *dpmipv1.HolderReport }

func (j judge) ReportMove(_ context.Context, vm mobility.VMID, _ mobility.Epoch, r *dpmipv1.HolderReport) error {
	if vm == mobility.NAI("unknown") {
		return connect.NewError(connect.CodeNotFound, errors.New("no such move"))
	}
	j.taken <- r
	return nil
}

func TestReportsAreNotHeldUpByOneThatNobodyTakes(t *testing.T) {
	j := judge{make(chan *dpmipv1.HolderReport, 4)}
	r := NewReports(j, "hv-a", slog.New(slog.DiscardHandler))
	r.add(agent.Report{VM: mobility.NAI("unknown"), Epoch: 1})
	r.add(agent.Report{VM: vm1, Epoch: 2, Figures: agent.Figures{Role: "source", RedirectedPackets: 1}})
	r.add(agent.Report{VM: vm1, Epoch: 2, Figures: agent.Figures{Role: "source", RedirectedPackets: 2}})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	if got := <-j.taken; got.RedirectedPackets != 2 || got.Hypervisor != "hv-a" || got.Role != "source" {
		t.Errorf("report: %v, want the newer one", got)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
