package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"flag"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/api/dpmip/v1/dpmipv1connect"
)

var rewrite = flag.Bool("rewrite", false, "rewrite testdata")

// node is a management node, agent and router that remember what they were
// asked and answer from a fixed state.
type node struct {
	dpmipv1connect.UnimplementedManagementServiceHandler
	prepared *v1.PrepareMoveRequest
	aborted  *v1.AbortMoveRequest
	receipt  *v1.Receipt
}

func (n *node) ListBindings(_ context.Context, r *connect.Request[v1.ListBindingsRequest]) (*connect.Response[v1.ListBindingsResponse], error) {
	b := func(vm, hv string) *v1.Binding {
		return &v1.Binding{Vm: vm, Hypervisor: hv, Epoch: 2, State: "bound", ExpiresAtNs: 1767225600e9,
			Addresses: []*v1.Slot{{Address: "2001:db8:a:1::42", Current: true}, {Address: "10.1.1.42", Current: true}}, Anchors: []*v1.Anchor{{Hypervisor: "hvA"}}}
	}
	if r.Msg.After == "" {
		return connect.NewResponse(&v1.ListBindingsResponse{Bindings: []*v1.Binding{b("vm1@dc1", "hvB")}, Next: "vm1@dc1"}), nil
	}
	return connect.NewResponse(&v1.ListBindingsResponse{Bindings: []*v1.Binding{b("vm2@dc1", "hvC")}}), nil
}

func (n *node) PrepareMove(_ context.Context, r *connect.Request[v1.PrepareMoveRequest]) (*connect.Response[v1.PrepareMoveResponse], error) {
	n.prepared = r.Msg
	if r.Msg.To == "hvSlow" {
		return connect.NewResponse(&v1.PrepareMoveResponse{Move: &v1.Move{Vm: r.Msg.Vm, To: r.Msg.To, State: "preparing"}}), nil
	}
	if r.Msg.To == "hvZ" {
		return nil, connect.NewError(connect.CodeNotFound, errText("hypervisor hvZ is not in the inventory"))
	}
	return connect.NewResponse(&v1.PrepareMoveResponse{Move: &v1.Move{Vm: r.Msg.Vm, From: "hvA", To: r.Msg.To, Epoch: 2, Mode: r.Msg.Mode, State: "ready"}}), nil
}

func (n *node) AbortMove(_ context.Context, r *connect.Request[v1.AbortMoveRequest]) (*connect.Response[v1.AbortMoveResponse], error) {
	n.aborted = r.Msg
	return connect.NewResponse(&v1.AbortMoveResponse{Move: &v1.Move{Vm: r.Msg.Vm, State: "aborted"}}), nil
}

func (n *node) ListNames(context.Context, *connect.Request[v1.ListNamesRequest]) (*connect.Response[v1.ListNamesResponse], error) {
	return connect.NewResponse(&v1.ListNamesResponse{Orders: []*v1.NamesOrder{
		{Vm: "vm1@dc1", Stage: "publish", Epoch: 2, Step: 1, Names: []string{"www.dc1.example"}, Published: []string{"2001:db8::2"}, Settled: true},
		{Vm: "vm2@dc1", Stage: "withdraw", Epoch: 3, Step: 4, Names: []string{"db.dc1.example"}, Trouble: "REFUSED"},
	}}), nil
}

func (n *node) GetReceipt(context.Context, *connect.Request[v1.GetReceiptRequest]) (*connect.Response[v1.GetReceiptResponse], error) {
	return connect.NewResponse(&v1.GetReceiptResponse{Receipt: n.receipt}), nil
}

func (n *node) ListReceipts(context.Context, *connect.Request[v1.ListReceiptsRequest]) (*connect.Response[v1.ListReceiptsResponse], error) {
	return connect.NewResponse(&v1.ListReceiptsResponse{Receipts: []*v1.Receipt{n.receipt}}), nil
}

func (n *node) RetireHypervisor(_ context.Context, r *connect.Request[v1.RetireHypervisorRequest]) (*connect.Response[v1.RetireHypervisorResponse], error) {
	return connect.NewResponse(&v1.RetireHypervisorResponse{Depends: []string{"vm1@dc1 runs there"}}), nil
}

func (n *node) Doctor(context.Context, *connect.Request[v1.DoctorRequest]) (*connect.Response[v1.DoctorResponse], error) {
	return connect.NewResponse(&v1.DoctorResponse{Checks: []*v1.Check{{Name: "store", State: "failed", Found: "read-only", Advice: "remount it"}}}), nil
}

type errText string

func (e errText) Error() string { return string(e) }

// serve runs n on a unix socket and returns its path.
func serve(t *testing.T, n *node) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "m.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(dpmipv1connect.NewManagementServiceHandler(n))
	srv := &http.Server{Handler: mux}
	done := make(chan struct{})
	go func() { defer close(done); srv.Serve(l) }()
	t.Cleanup(func() { srv.Close(); <-done })
	return path
}

func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	e := &env{stdout: &out, stderr: &errs, getenv: func(string) string { return "" }}
	code = e.run(t.Context(), args)
	return code, out.String(), errs.String()
}

func signed(good bool) *v1.Receipt {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	r := &v1.Receipt{Move: &v1.Move{Vm: "vm1@dc1", Epoch: 2, From: "hvA", To: "hvB", State: "done"}, Final: true,
		PublicKey: key.Public().(ed25519.PublicKey), Signed: []byte(`{"vm":"vm1@dc1"}`)}
	r.Signature = ed25519.Sign(key, r.Signed)
	if !good {
		r.Signed = []byte(`{"vm":"vm2@dc1"}`)
	}
	return r
}

func TestTablesFollowEveryPage(t *testing.T) {
	code, out, _ := run(t, "--mgmt", serve(t, &node{}), "bindings")
	want := "VM       HYPERVISOR  EPOCH  STATE  ADDRESSES                   ANCHORS  MOVE  EXPIRES\n" +
		"vm1@dc1  hvB         2      bound  2001:db8:a:1::42,10.1.1.42  1        -     2026-01-01T00:00:00.000Z\n" +
		"vm2@dc1  hvC         2      bound  2001:db8:a:1::42,10.1.1.42  1        -     2026-01-01T00:00:00.000Z\n"
	if diff := cmp.Diff(want, out); code != exitOK || diff != "" {
		t.Errorf("code %d (-want +got):\n%s", code, diff)
	}
	if _, out, _ := run(t, "--mgmt", serve(t, &node{}), "--json", "bindings"); !strings.Contains(out, `"vm2@dc1"`) {
		t.Errorf("JSON lacks the second page: %s", out)
	}
}

func TestPrepareAsksForWhatTheFlagsSay(t *testing.T) {
	n := &node{}
	code, _, _ := run(t, "--mgmt", serve(t, n), "move", "prepare", "vm1@dc1", "--to", "hvB", "--addresses", "renumber", "--new", "drop", "--wait", "3s")
	p := n.prepared
	if code != exitOK || p == nil || p.Vm != "vm1@dc1" || p.To != "hvB" || p.Mode != "hot" || p.Addresses != "renumber" || p.NewConnections != "drop" || p.WaitNs != 3e9 {
		t.Errorf("code %d, asked %v", code, p)
	}
}

func TestAbortCarriesTheWord(t *testing.T) {
	n := &node{}
	code, _, _ := run(t, "--mgmt", serve(t, n), "move", "abort", "vm1@dc1", "--epoch", "2", "--destination-fenced", "alice, PDU 7")
	if a := n.aborted; code != exitOK || a == nil || a.Vm != "vm1@dc1" || a.Epoch != 2 || a.DestinationFencedBy != "alice, PDU 7" {
		t.Errorf("code %d, asked %v", code, a)
	}
}

func TestExitCodes(t *testing.T) {
	sock := serve(t, &node{receipt: signed(true)})
	for _, c := range []struct {
		code int
		says string
		args []string
	}{
		{exitUsage, "unknown flag", []string{"bindings", "--nope"}},
		{exitUsage, "want 1", []string{"binding", "show"}},
		{exitUsage, "want a socket path", []string{"--mgmt", "ftp://x", "bindings"}},
		{exitUnreachable, "is the daemon running", []string{"--mgmt", "/nonexistent.sock", "bindings"}},
		{exitRefused, "hvZ is not in the inventory", []string{"--mgmt", sock, "move", "prepare", "vm1", "--to", "hvZ"}},
		{exitRefused, "depends on it", []string{"--mgmt", sock, "hypervisor", "retire", "hvA"}},
		{exitNotYet, "the move is preparing", []string{"--mgmt", sock, "move", "prepare", "vm1", "--to", "hvSlow"}},
		{exitOK, "", []string{"--mgmt", sock, "move", "prepare", "vm1", "--to", "hvSlow", "--wait", "0"}},
		{exitUnhealthy, "", []string{"--mgmt", sock, "doctor"}},
		{exitUsage, "want mgmt, agent or router", []string{"--mgmt", sock, "doctor", "--at", "moon"}},
		{exitUsage, "say who", []string{"--mgmt", sock, "move", "abort", "vm1", "--destination-fenced", ""}},
		{exitUsage, "--source-lost", []string{"--mgmt", sock, "move"}},
		{exitOK, "", []string{"--mgmt", sock, "receipts"}},
	} {
		code, _, errs := run(t, c.args...)
		if code != c.code || !strings.Contains(errs, c.says) {
			t.Errorf("%v: code %d, want %d; said %q, want %q in it", c.args, code, c.code, errs, c.says)
		}
	}
}

func TestSignaturesAreChecked(t *testing.T) {
	for good, want := range map[bool]string{true: "good", false: "BAD"} {
		_, out, _ := run(t, "--mgmt", serve(t, &node{receipt: signed(good)}), "receipts")
		if !strings.Contains(out, want) {
			t.Errorf("good = %v: %s", good, out)
		}
	}
}

// TestHelp holds the whole help in testdata/help.txt; -rewrite makes it anew.
func TestHelp(t *testing.T) {
	var b strings.Builder
	e := &env{stdout: &b, stderr: &b, getenv: func(string) string { return "" }}
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Name() == "completion" || c.Name() == "help" {
			return
		}
		b.WriteString("== " + c.CommandPath() + "\n")
		c.SetOut(&b)
		if err := c.Help(); err != nil {
			t.Fatal(err)
		}
		for _, s := range c.Commands() {
			walk(s)
		}
	}
	walk(e.root())
	path := filepath.Join("testdata", "help.txt")
	if *rewrite {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("help has changed; go test -rewrite makes it anew (-want +got):\n%s", diff)
	}
}

func TestReceiptSaysWhoServedWhat(t *testing.T) {
	r := signed(true)
	r.Names = []*v1.NamesReport{{Stage: "publish", Zone: "dc1.example.", By: "management node", Epoch: 2, Step: 1, Outcome: "unproved", Failure: "not seen at 192.0.2.2:53",
		Servers: []*v1.NamesServer{
			{Server: "192.0.2.1:53", Serial: 7, Answers: []*v1.NamesAnswer{{Name: "www.dc1.example.", Type: "AAAA", Ttl: 5, Data: []string{"2001:db8::2"}, AtNs: 1e9}}},
			{Server: "192.0.2.2:53", Serial: 6, Missing: "serial 6, the primary has 7"}}}}
	r.Endpoints = &v1.EndpointFigures{CountedBy: "test", Direct: []*v1.DirectShare{{SinceCommitNs: 25e7, Attempted: 4, Direct: 3, Redirected: 1}}}
	_, out, _ := run(t, "--mgmt", serve(t, &node{receipt: r}), "receipt", "show", "vm1@dc1")
	for _, want := range []string{
		"publish  dc1.example.  management node  2.1      unproved",
		"publish  192.0.2.1:53  7       www.dc1.example.  AAAA  5    2001:db8::2", "1970-01-01T00:00:01.000Z",
		"missing: serial 6, the primary has 7",
		"250ms         4          3       1           0       75%",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

func TestNamesSayWhatIsProved(t *testing.T) {
	_, out, _ := run(t, "--mgmt", serve(t, &node{}), "names")
	want := "VM       NAMES            PUBLISHED    STAGE     VERSION  STATE    ORDERED  TROUBLE\n" +
		"vm1@dc1  www.dc1.example  2001:db8::2  publish   2.1      proved   -        -\n" +
		"vm2@dc1  db.dc1.example   -            withdraw  3.4      TROUBLE  -        REFUSED\n"
	if diff := cmp.Diff(want, out); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
