package daemon

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	dpmipv1 "github.com/dpmip/dpmip/api/dpmip/v1"

	"github.com/dpmip/dpmip/agent"
	"github.com/dpmip/dpmip/mobility"
)

// judge takes reports, and knows no move of vm "unknown".
type judge struct {
	taken   chan *dpmipv1.HolderReport
	traffic chan *dpmipv1.ReportTrafficRequest
}

func (j judge) ReportMove(_ context.Context, vm mobility.VMID, _ mobility.Epoch, r *dpmipv1.HolderReport) error {
	if vm == mobility.NAI("unknown") {
		return connect.NewError(connect.CodeNotFound, errors.New("no such move"))
	}
	j.taken <- r
	return nil
}

func (j judge) ReportTraffic(_ context.Context, r *dpmipv1.ReportTrafficRequest) error {
	j.traffic <- r
	return nil
}

// TestReportsTraffic: samples go to the management node under the agent's name.
func TestReportsTraffic(t *testing.T) {
	j := judge{traffic: make(chan *dpmipv1.ReportTrafficRequest, 1)}
	r := NewReports(j, "hv-a", slog.New(slog.DiscardHandler))
	a := netip.MustParseAddr("2001:db8::7")
	r.addTraffic(agent.Traffic{Samples: []agent.Sample{{VM: vm1, Addr: a, Packets: 7, Over: time.Second}}})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	want := &dpmipv1.ReportTrafficRequest{Hypervisor: "hv-a", Samples: []*dpmipv1.TrafficSample{{Vm: vm1.String(), Address: a.String(), Packets: 7, OverNs: 1e9}}}
	if d := cmp.Diff(want, <-j.traffic, protocmp.Transform()); d != "" {
		t.Errorf("traffic (-want +got):\n%s", d)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestReportsAreNotHeldUpByOneThatNobodyTakes(t *testing.T) {
	j := judge{taken: make(chan *dpmipv1.HolderReport, 4)}
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
