package main

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/internal/authority"
	"github.com/dpmip/dpmip/mgmtclient"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
)

// issuer makes the files of names at the management node's address, by one
// authority.
func issuer(t *testing.T, dir, name string) func(of string) mgmtclient.TLSFiles {
	t.Helper()
	ca, err := authority.New(name)
	if err != nil {
		t.Fatal(err)
	}
	return func(of string) mgmtclient.TLSFiles {
		t.Helper()
		f, err := ca.Issue(dir, name+"-"+of+"-", authority.Subject{Name: of, At: []netip.Addr{managementAt}})
		if err != nil {
			t.Fatal(err)
		}
		return mgmtclient.TLSFiles(f)
	}
}

// TestMutualTLS: over TCP an agent reports what it counted, for itself and
// nothing else; an operator may do everything, who has no certificate of the
// CA nothing at all.
func TestMutualTLS(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	dir := t.TempDir()
	ca, other := issuer(t, dir, "ca"), issuer(t, dir, "other")
	own := ca("mgmt")
	socket := filepath.Join(dir, "mgmt.sock")
	path := example(t, func(_, text string) string {
		return strings.NewReplacer(`"/var/lib/dpmip-mgmt"`, fmt.Sprintf("%q", filepath.Join(dir, "state")), `"/run/dpmip/mgmt.sock"`, fmt.Sprintf("%q", socket), `, "192.0.2.254"`, "",
			"#[admin]", "[admin]", "#listen", "listen", `#cert = "tls/mgmt.crt"`, fmt.Sprintf("cert = %q", own.Cert), `#key = "tls/mgmt.key"`, fmt.Sprintf("key = %q", own.Key), "#client_ca", "client_ca", "#operators", "operators",
			`"tls/ca.crt"`, fmt.Sprintf("%q", own.CA)).Replace(text)
	})
	stop := started(t, path)
	defer func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	}()
	connectTo := func(f mgmtclient.TLSFiles) *mgmtclient.Client {
		f.CA = own.CA
		c, err := mgmtclient.Open(mgmtclient.Target{Address: fmt.Sprintf("https://[%s]:5437", managementAt), TLS: f})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	operator, agent := connectTo(ca("operator")), connectTo(ca("hv-a"))

	vm := mobility.NAI("vm1@dc1.example")
	a := newHost(t, "2001:db8:a::1", 1001, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f")
	newHost(t, "2001:db8:b::1", 1003, "202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f")
	if got := a.submit(registration.Request{VM: vm, Handoff: mobility.HandoffNew, Lifetime: 100, Slots: []netip.Addr{netip.MustParseAddr("2001:db8:a:1::1")}}); got.Status != mobility.StatusAccepted {
		t.Fatalf("register: %+v", got)
	}
	prepare := &v1.PrepareMoveRequest{Vm: vm.String(), To: "hv-b", WaitNs: int64(30 * time.Second)}
	if _, err := agent.PrepareMove(t.Context(), connect.NewRequest(prepare)); connect.CodeOf(err) != connect.CodePermissionDenied {
		t.Errorf("an agent asks for a move: %v", err)
	}
	if p, err := operator.PrepareMove(t.Context(), connect.NewRequest(prepare)); err != nil || p.Msg.Move.State != "ready" {
		t.Fatalf("an operator asks for a move: %v, %v", p, err)
	}
	if err := agent.ReportMove(t.Context(), vm, 2, &v1.HolderReport{Hypervisor: "hv-a", Role: "source", RedirectedPackets: 7}); err != nil {
		t.Errorf("an agent reports: %v", err)
	}
	if err := agent.ReportMove(t.Context(), vm, 2, &v1.HolderReport{Hypervisor: "hv-b", Role: "destination"}); connect.CodeOf(err) != connect.CodePermissionDenied {
		t.Errorf("an agent reports for another: %v", err)
	}
	router := connectTo(ca("tor-a"))
	for _, x := range []struct {
		by     *mgmtclient.Client
		report *v1.RouterReport
		want   connect.Code // 0: taken
	}{
		{router, &v1.RouterReport{Router: "tor-a", Use: &v1.GetUseResponse{Routes: 7, Limit: 10}}, 0},
		{router, &v1.RouterReport{Router: "tor-a"}, connect.CodeInvalidArgument},
		{router, &v1.RouterReport{Router: "tor-b", Use: &v1.GetUseResponse{}}, connect.CodePermissionDenied},
		{operator, &v1.RouterReport{Router: "tor-x", Use: &v1.GetUseResponse{}}, connect.CodeInvalidArgument},
		{operator, &v1.RouterReport{Router: "tor-b", Use: &v1.GetUseResponse{}, Sessions: make([]*v1.Session, 2000)}, connect.CodeInvalidArgument},
	} {
		if err := x.by.ReportRouter(t.Context(), x.report); err != nil && connect.CodeOf(err) != x.want || err == nil && x.want != 0 {
			t.Errorf("report of %q: %v, want code %d", x.report.Router, err, x.want)
		}
	}
	list, err := operator.ListRouters(t.Context(), connect.NewRequest(&v1.ListRoutersRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range list.Msg.Routers {
		if got := r.Report.GetUse().GetRoutes(); r.Name == "tor-a" && (got != 7 || r.ReportedAtNs == 0) || r.Name != "tor-a" && r.Report != nil {
			t.Errorf("%s is shown with the report %v of %d", r.Name, r.Report, r.ReportedAtNs)
		}
	}
	// With TLS 1.3 the client is through before the server has looked at its
	// certificate: it hears of the alert, or only that the connection has ended.
	stranger := connectTo(other("operator"))
	if _, err := stranger.ListMoves(t.Context(), connect.NewRequest(&v1.ListMovesRequest{})); err == nil || connect.IsWireError(err) { // an answer of the server
		t.Errorf("a certificate of another authority: %v", err)
	}
}
