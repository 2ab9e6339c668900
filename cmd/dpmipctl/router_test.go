package main

import (
	"context"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/api/dpmip/v1/dpmipv1connect"
)

// fakeRouter is a border router with one peer that has another key.
type fakeRouter struct {
	dpmipv1connect.UnimplementedRouterServiceHandler
	asked *v1.GetRouteRequest
	met   bool
}

func (f *fakeRouter) GetRoute(_ context.Context, r *connect.Request[v1.GetRouteRequest]) (*connect.Response[v1.GetRouteResponse], error) {
	f.asked = r.Msg
	return connect.NewResponse(&v1.GetRouteResponse{Installed: f.met, Met: f.met, Vm: "vm1@dc1", Epoch: 7, Locator: "2001:db8:b::b", Route: &v1.KernelRoute{
		Prefix: "2001:db8:a::7/128", Owner: "dpmip", Metric: 20, Type: "unicast", SinceNs: 1e18, NextHops: []*v1.NextHop{{Gateway: "fe80::1", Device: "h0"}}}}), nil
}

func (f *fakeRouter) GetUse(context.Context, *connect.Request[v1.GetUseRequest]) (*connect.Response[v1.GetUseResponse], error) {
	return connect.NewResponse(&v1.GetUseResponse{Routes: 3, Limit: 3, Refused: 1, LastRefusal: "full", LastRefusalNs: 1e18, Roles: []string{"default-router"}}), nil
}

func (f *fakeRouter) ListSessions(context.Context, *connect.Request[v1.ListSessionsRequest]) (*connect.Response[v1.ListSessionsResponse], error) {
	return connect.NewResponse(&v1.ListSessionsResponse{Sessions: []*v1.Session{{Peer: "dc2", Address: "2001:db8:f::2", Asn: 65002, State: "active", Flaps: 2, Problem: "another key"}}}), nil
}

func (f *fakeRouter) ListExchanged(_ context.Context, r *connect.Request[v1.ListExchangedRequest]) (*connect.Response[v1.ListExchangedResponse], error) {
	return connect.NewResponse(&v1.ListExchangedResponse{Routes: []*v1.Exchanged{{Prefix: "2001:db8:a::7/128", Direction: r.Msg.Direction, Peer: "dc2", State: "refused", Communities: []string{"1:2"}, Reason: "no community"}}}), nil
}

func serveRouter(t *testing.T, f *fakeRouter) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "r.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(dpmipv1connect.NewRouterServiceHandler(f))
	srv := &http.Server{Handler: mux}
	done := make(chan struct{})
	go func() { defer close(done); srv.Serve(l) }()
	t.Cleanup(func() { srv.Close(); <-done })
	return path
}

func TestRouterCommands(t *testing.T) {
	f := &fakeRouter{met: true}
	path := serveRouter(t, f)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"sessions"}, "PEER  ADDRESS        ASN    STATE   SINCE  FLAPS  RECEIVED  ACCEPTED  REFUSED  ANNOUNCED  STALE  PROBLEM\n" +
			"dc2   2001:db8:f::2  65002  active  -      2      0         0         0        0          0      another key\n"},
		{[]string{"exchanged", "--direction", "in"}, "PREFIX             DIRECTION  PEER  STATE    NEXT-HOP  COMMUNITIES  SINCE  REASON\n" +
			"2001:db8:a::7/128  in         dc2   refused  -         1:2          -      no community\n"},
		{[]string{"use"}, "roles:         default-router\nhost routes:   3 of 3\nrefused:       1\nlast refusal:  2001-09-09T01:46:40.000Z full\n" +
			"imported:      0 of 0\nannounced:     0\nsessions up:   0 of 0\n"},
		{[]string{"route", "2001:db8:a::7", "--until", "installed", "--via", "fe80::1", "--wait", "2s"}, "installed:  yes\nroute:      2001:db8:a::7/128\ntype:       unicast\n" +
			"by:         dpmip\nnext hops:  fe80::1 h0\nmetric:     20\nsince:      2001-09-09T01:46:40.000Z\nvm:         vm1@dc1\nepoch:      7\nlocator:    2001:db8:b::b\n"},
	} {
		code, out, errs := run(t, append([]string{"--router", path}, c.args...)...)
		if diff := cmp.Diff(c.want, out); code != exitOK || diff != "" {
			t.Errorf("%v: code %d %s (-want +got):\n%s", c.args, code, errs, diff)
		}
	}
	if a := f.asked; a == nil || a.Until != "installed" || a.WaitNs != 2e9 || len(a.NextHops) != 1 {
		t.Errorf("asked %v", a)
	}
	f.met = false
	if code, _, errs := run(t, "--router", path, "route", "2001:db8:a::7", "--until", "installed"); code != exitRefused || !strings.Contains(errs, "is not installed") {
		t.Errorf("not met: code %d, %s", code, errs)
	}
}
