package mgmtclient

import (
	"context"

	"connectrpc.com/connect"

	dpmipv1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/api/dpmip/v1/dpmipv1connect"
	"github.com/dpmip/dpmip/mobility"
)

// Client speaks to one management node. It may be used concurrently.
type Client struct {
	dpmipv1connect.ManagementServiceClient
	reports dpmipv1connect.ReportServiceClient
	close   func()
}

// Open prepares a client; nothing is sent before the first call.
func Open(t Target) (*Client, error) {
	hc, base, err := t.dial()
	if err != nil {
		return nil, err
	}
	return &Client{
		ManagementServiceClient: dpmipv1connect.NewManagementServiceClient(hc, base),
		reports:                 dpmipv1connect.NewReportServiceClient(hc, base),
		close:                   hc.CloseIdleConnections,
	}, nil
}

// ReportMove gives the management node what a holder counted for one move.
func (c *Client) ReportMove(ctx context.Context, vm mobility.VMID, epoch mobility.Epoch, r *dpmipv1.HolderReport) error {
	_, err := c.reports.ReportMove(ctx, connect.NewRequest(&dpmipv1.ReportMoveRequest{Vm: vm.String(), Epoch: uint32(epoch), Report: r}))
	return err
}

// ReportTraffic gives the management node a hypervisor's samples of traffic.
func (c *Client) ReportTraffic(ctx context.Context, r *dpmipv1.ReportTrafficRequest) error {
	_, err := c.reports.ReportTraffic(ctx, connect.NewRequest(r))
	return err
}

// ReportRouter gives the management node what a router holds.
func (c *Client) ReportRouter(ctx context.Context, r *dpmipv1.RouterReport) error {
	_, err := c.reports.ReportRouter(ctx, connect.NewRequest(&dpmipv1.ReportRouterRequest{Report: r}))
	return err
}

// WatchProofs calls task with each thing that the node is to prove, until ctx or
// the connection ends; open is called once the management node has heard.
func (c *Client) WatchProofs(ctx context.Context, r *dpmipv1.WatchProofsRequest, open func(), task func(*dpmipv1.ProofTask)) error {
	s, err := c.reports.WatchProofs(ctx, connect.NewRequest(r))
	if err != nil {
		return err
	}
	defer s.Close()
	open()
	for s.Receive() {
		task(s.Msg())
	}
	return s.Err()
}

// ReportProof tells the management node what a task has come to.
func (c *Client) ReportProof(ctx context.Context, r *dpmipv1.ReportProofRequest) error {
	_, err := c.reports.ReportProof(ctx, connect.NewRequest(r))
	return err
}

// Close ends idle connections.
func (c *Client) Close() error {
	c.close()
	return nil
}

// OpenAgent prepares a client of an agent's control socket.
func OpenAgent(t Target) (dpmipv1connect.AgentServiceClient, error) {
	hc, base, err := t.dial()
	if err != nil {
		return nil, err
	}
	return dpmipv1connect.NewAgentServiceClient(hc, base), nil
}

// OpenRouter prepares a client of a router's control socket.
func OpenRouter(t Target) (dpmipv1connect.RouterServiceClient, error) {
	hc, base, err := t.dial()
	if err != nil {
		return nil, err
	}
	return dpmipv1connect.NewRouterServiceClient(hc, base), nil
}
