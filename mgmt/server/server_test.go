package server

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/mgmt"
	"github.com/dpmip/dpmip/mgmt/inventory"
	"github.com/dpmip/dpmip/mgmt/store"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
)

const slot = "2001:db8:a:1::1"

func request[T any](m *T) *connect.Request[T] { return connect.NewRequest(m) }

func TestAMoveThroughTheInterfaces(t *testing.T) {
	l := newLab(t, &store.Memory{})
	ctx := t.Context()
	if r := l.reply(l.submit(hostA, register("vm1", slot))); r.Status != mobility.StatusAccepted {
		t.Fatal(r.Status)
	}
	p, err := l.client.PrepareMove(ctx, request(&v1.PrepareMoveRequest{Vm: "vm1", To: "b", WaitNs: int64(time.Minute)}))
	if err != nil {
		t.Fatal(err)
	}
	if m := p.Msg.Move; m.State != "ready" || m.Epoch != 2 || m.Ticket != "issued" || m.Addresses != "keep" {
		t.Fatalf("prepared: %v", m)
	}
	watch, err := l.client.WatchMove(ctx, request(&v1.WatchMoveRequest{Vm: "vm1"}))
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Close()
	if r := l.commit("vm1", slot, 2); r.Status != mobility.StatusAccepted || r.Epoch != 2 {
		t.Fatalf("commit: %+v", r)
	}
	var states []string
	for watch.Receive() {
		if s := watch.Msg().State; len(states) == 0 || states[len(states)-1] != s {
			states = append(states, s)
		}
	}
	if d := cmp.Diff([]string{"ready", "committed", "done"}, states); d != "" || watch.Err() != nil {
		t.Errorf("watched (-want +got):\n%s%v", d, watch.Err())
	}
	b, err := l.client.GetBinding(ctx, request(&v1.GetBindingRequest{Vm: "vm1"}))
	if err != nil {
		t.Fatal(err)
	}
	if b := b.Msg.Binding; b.Hypervisor != "b" || b.State != "registered" || len(b.Anchors) != 1 || !b.Anchors[0].Confirmed || b.Addresses[0].Home != "a" || b.Addresses[0].Delivery == "" {
		t.Errorf("binding: %v", b)
	}
	l.receipt(ctx)
	if n := l.counter("dpmip_mgmt_requests_total", "commit"); n != 1 {
		t.Errorf("commits counted: %v", n)
	}
}

func TestAbortWithoutTheDestination(t *testing.T) {
	l := newLab(t, &store.Memory{})
	ctx := t.Context()
	l.reply(l.submit(hostA, register("vm1", slot)))
	if _, err := l.client.PrepareMove(ctx, request(&v1.PrepareMoveRequest{Vm: "vm1", To: "b", WaitNs: int64(time.Minute)})); err != nil {
		t.Fatal(err)
	}
	r, err := l.client.AbortMove(ctx, request(&v1.AbortMoveRequest{Vm: "vm1", DestinationFencedBy: "alice", WaitNs: int64(time.Minute)}))
	if err != nil {
		t.Fatal(err)
	}
	var phases []string
	for _, p := range r.Msg.Move.Phases {
		phases = append(phases, strings.TrimSpace(p.Name+" "+p.Detail))
	}
	want := []string{"asked", "destination_prepared", "source_prepared", "ready", "abort_asked the operator asked for it",
		"destination_fenced alice", "source_disarmed", "aborted the operator asked for it"}
	if d := cmp.Diff(want, phases); d != "" || r.Msg.Move.State != "aborted" {
		t.Errorf("state %s, phases (-want +got):\n%s", r.Msg.Move.State, d)
	}
}

// traffic reports that of vm1, and reads it back from its binding.
func (l *lab) traffic(ctx context.Context) {
	l.t.Helper()
	b, err := l.client.GetBinding(ctx, request(&v1.GetBindingRequest{Vm: "vm1"}))
	if err != nil {
		l.t.Fatal(err)
	}
	at, a := b.Msg.Binding.Hypervisor, b.Msg.Binding.Addresses[0].Address
	sample := []*v1.TrafficSample{{Vm: "vm1", Address: a, Packets: 50, OverNs: 2e9}}
	if _, err := l.reports.ReportTraffic(ctx, request(&v1.ReportTrafficRequest{Hypervisor: at, Samples: sample})); err != nil {
		l.t.Fatal(err)
	}
	if b, err = l.client.GetBinding(ctx, request(&v1.GetBindingRequest{Vm: "vm1"})); err != nil {
		l.t.Fatal(err)
	}
	if got := b.Msg.Binding.Addresses[0].PacketsPerSecond; got == nil || *got != 25 {
		l.t.Errorf("%s at %s: packets per second %v, want 25", a, at, got)
	}
}

// receipt reports, adds figures and checks the receipt of vm1's move.
func (l *lab) receipt(ctx context.Context) {
	l.t.Helper()
	_, err := l.reports.ReportMove(ctx, request(&v1.ReportMoveRequest{Vm: "vm1", Epoch: 2, Report: &v1.HolderReport{Hypervisor: "a", Role: "source", RedirectedPackets: 5}}))
	if err != nil {
		l.t.Fatal(err)
	}
	l.traffic(ctx)
	_, err = l.client.AddEndpointFigures(ctx, request(&v1.AddEndpointFiguresRequest{Vm: "vm1", Epoch: 2, Figures: &v1.EndpointFigures{Sent: 9, Received: 9, CountedBy: "lab"}}))
	if err != nil {
		l.t.Fatal(err)
	}
	r, err := l.client.GetReceipt(ctx, request(&v1.GetReceiptRequest{Vm: "vm1"}))
	if err != nil {
		l.t.Fatal(err)
	}
	got := r.Msg.Receipt
	if !got.Final || got.Endpoints.GetSent() != 9 || len(got.Holders) != 1 || !ed25519.Verify(got.PublicKey, got.Signed, got.Signature) {
		l.t.Errorf("receipt: %v", got)
	}
	list, err := l.client.ListReceipts(ctx, request(&v1.ListReceiptsRequest{Limit: 5}))
	if err != nil || len(list.Msg.Receipts) != 1 {
		l.t.Errorf("receipts: %v, %v", list, err)
	}
}

func TestCodes(t *testing.T) {
	l := newLab(t, &store.Memory{})
	ctx := t.Context()
	l.reply(l.submit(hostA, register("vm1", slot)))
	for name, tc := range map[string]struct {
		call func() error
		want connect.Code
	}{
		"no such vm": {func() error {
			_, err := l.client.GetBinding(ctx, request(&v1.GetBindingRequest{Vm: "vm9"}))
			return err
		}, connect.CodeNotFound},
		"bad vm": {func() error {
			_, err := l.client.GetBinding(ctx, request(&v1.GetBindingRequest{Vm: "v m"}))
			return err
		}, connect.CodeInvalidArgument},
		"bad word": {func() error {
			_, err := l.client.PrepareMove(ctx, request(&v1.PrepareMoveRequest{Vm: "vm1", To: "b", Mode: "tepid"}))
			return err
		}, connect.CodeInvalidArgument},
		"no such host": {func() error {
			_, err := l.client.PrepareMove(ctx, request(&v1.PrepareMoveRequest{Vm: "vm1", To: "z"}))
			return err
		}, connect.CodeNotFound},
		"there already": {func() error {
			_, err := l.client.PrepareMove(ctx, request(&v1.PrepareMoveRequest{Vm: "vm1", To: "a"}))
			return err
		}, connect.CodeFailedPrecondition},
		"drop and keep": {func() error {
			_, err := l.client.PrepareMove(ctx, request(&v1.PrepareMoveRequest{Vm: "vm1", To: "b", NewConnections: "drop"}))
			return err
		}, connect.CodeFailedPrecondition},
		"nothing to stop": {func() error { _, err := l.client.AbortMove(ctx, request(&v1.AbortMoveRequest{Vm: "vm1"})); return err }, connect.CodeNotFound},
		"not fenced": {func() error {
			_, err := l.client.SourceLost(ctx, request(&v1.SourceLostRequest{Vm: "vm1", To: "b"}))
			return err
		}, connect.CodeFailedPrecondition},
		"no receipt": {func() error {
			_, err := l.client.GetReceipt(ctx, request(&v1.GetReceiptRequest{Vm: "vm1"}))
			return err
		}, connect.CodeNotFound},
		"no report": {func() error {
			_, err := l.reports.ReportMove(ctx, request(&v1.ReportMoveRequest{Vm: "vm1"}))
			return err
		}, connect.CodeInvalidArgument},
		"traffic of nobody": {func() error {
			_, err := l.reports.ReportTraffic(ctx, request(&v1.ReportTrafficRequest{Hypervisor: "z"}))
			return err
		}, connect.CodeInvalidArgument},
		"traffic of no address": {func() error {
			_, err := l.reports.ReportTraffic(ctx, request(&v1.ReportTrafficRequest{Hypervisor: "a", Samples: []*v1.TrafficSample{{Vm: "vm1", Address: "x", OverNs: 1}}}))
			return err
		}, connect.CodeInvalidArgument},
		"traffic in no time": {func() error {
			_, err := l.reports.ReportTraffic(ctx, request(&v1.ReportTrafficRequest{Hypervisor: "a", Samples: []*v1.TrafficSample{{Vm: "vm1", Address: "2001:db8::1"}}}))
			return err
		}, connect.CodeInvalidArgument},
		"no figures": {func() error {
			_, err := l.client.AddEndpointFigures(ctx, request(&v1.AddEndpointFiguresRequest{Vm: "vm1"}))
			return err
		}, connect.CodeInvalidArgument},
		"no host to empty": {func() error {
			_, err := l.client.EvacuateHypervisor(ctx, request(&v1.EvacuateHypervisorRequest{Hypervisor: "z"}))
			return err
		}, connect.CodeNotFound},
	} {
		if got := connect.CodeOf(tc.call()); got != tc.want {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
	w, err := l.client.WatchMove(ctx, request(&v1.WatchMoveRequest{Vm: "vm1"}))
	if err == nil && (w.Receive() || connect.CodeOf(w.Err()) != connect.CodeNotFound) {
		t.Errorf("watching no move: %v", w.Err())
	}
	w.Close()
}

func TestListsAndDoctor(t *testing.T) {
	l := newLab(t, &store.Memory{})
	ctx := t.Context()
	h := l.submit(hostA, register("vm1", slot), register("vm2", "2001:db8:a:1::2"), register("vm3", "2001:db8:a:1::3"))
	for range 3 {
		l.reply(h)
	}
	var names []string
	for after, more := "", true; more; more = after != "" {
		p, err := l.client.ListBindings(ctx, request(&v1.ListBindingsRequest{Hypervisor: "a", Limit: 2, After: after}))
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range p.Msg.Bindings {
			names = append(names, b.Vm)
		}
		after = p.Msg.Next
	}
	if d := cmp.Diff([]string{"vm1", "vm2", "vm3"}, names); d != "" {
		t.Errorf("pages (-want +got):\n%s", d)
	}
	hosts, err := l.client.ListHypervisors(ctx, request(&v1.ListHypervisorsRequest{}))
	if err != nil || len(hosts.Msg.Hypervisors) != 2 || hosts.Msg.Hypervisors[0].Vms != 3 || hosts.Msg.Hypervisors[0].LastHeardNs == 0 {
		t.Errorf("hypervisors: %v, %v", hosts, err)
	}
	if r, err := l.client.ListRouters(ctx, request(&v1.ListRoutersRequest{})); err != nil || len(r.Msg.Routers) != 0 {
		t.Errorf("routers: %v, %v", r, err)
	}
	ev, err := l.client.EvacuateHypervisor(ctx, request(&v1.EvacuateHypervisorRequest{Hypervisor: "a"}))
	if err != nil || len(ev.Msg.Moves) != 3 || len(ev.Msg.Problems) != 0 {
		t.Errorf("evacuate: %v, %v", ev, err)
	}
	mv, err := l.client.ListMoves(ctx, request(&v1.ListMovesRequest{Open: true, Limit: 2}))
	if err != nil || len(mv.Msg.Moves) != 2 {
		t.Errorf("moves: %v, %v", mv, err)
	}
	rt, err := l.client.RetireHypervisor(ctx, request(&v1.RetireHypervisorRequest{Hypervisor: "a"}))
	if err != nil || rt.Msg.Retired || len(rt.Msg.Depends) == 0 {
		t.Errorf("retire: %v, %v", rt, err)
	}
	doc, err := l.client.Doctor(ctx, request(&v1.DoctorRequest{}))
	if err != nil || len(doc.Msg.Checks) < 4 || doc.Msg.Version == "" {
		t.Errorf("doctor: %v, %v", doc, err)
	}
	if re, err := l.client.Reload(ctx, request(&v1.ReloadRequest{})); err != nil || len(re.Msg.Changes) != 1 {
		t.Errorf("reload: %v, %v", re, err)
	}
}

// gated is a store whose transactions wait for a word.
type gated struct {
	store.Memory
	gate  chan error
	sizes chan int
}

func (g *gated) Apply(w []store.Write) error {
	g.sizes <- len(w)
	if err := <-g.gate; err != nil {
		return err
	}
	return g.Memory.Apply(w)
}

// While the store writes one transaction all that comes in gathers for the next.
func TestGroupCommit(t *testing.T) {
	g := &gated{gate: make(chan error, 100), sizes: make(chan int, 100)}
	g.gate <- nil // the start
	l := newLab(t, g)
	<-g.sizes
	const n = 200
	var rs []registration.Request
	for i := range n {
		rs = append(rs, register(fmt.Sprintf("vm%d", i), fmt.Sprintf("2001:db8:a:1::%x", i+1)))
	}
	h := l.submit(hostA, rs[0])
	if first := <-g.sizes; first != 1 {
		t.Errorf("the first transaction has %d writes", first)
	}
	l.submit(hostA, rs[1:]...)
	select {
	case r := <-h.replies:
		t.Fatalf("answered before anything is durable: %+v", r)
	default:
	}
	g.gate <- nil
	if second := <-g.sizes; second < n-1 {
		t.Errorf("the second transaction has %d writes, want all the rest", second)
	}
	g.gate <- nil
	for range n {
		if r := l.reply(h); r.Status != mobility.StatusAccepted {
			t.Fatal(r.Status)
		}
	}
	close(g.gate)
}

func TestStoreFailure(t *testing.T) {
	m := &store.Memory{}
	l := newLab(t, m)
	l.reply(l.submit(hostA, register("vm1", slot)))
	m.FailWith(errors.New("disk full"))
	if r := l.reply(l.submit(hostA, register("vm2", "2001:db8:a:1::2"))); r.Status != mobility.StatusResources {
		t.Errorf("status %v, want %v", r.Status, mobility.StatusResources)
	}
	_, err := l.client.PrepareMove(t.Context(), request(&v1.PrepareMoveRequest{Vm: "vm1", To: "b"}))
	if err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("prepare: %v", err)
	}
	if n := l.counter("dpmip_mgmt_store_errors_total", ""); n < 2 {
		t.Errorf("store errors counted: %v", n)
	}
	m.FailWith(nil)
	if r := l.reply(l.submit(hostA, register("vm3", "2001:db8:a:1::3"))); r.Status != mobility.StatusAccepted {
		t.Errorf("after the disk is well: %v", r.Status)
	}
}

func TestSetInventoryKeepsServingHypervisors(t *testing.T) {
	l := newLab(t, &store.Memory{})
	l.reply(l.submit(hostA, register("vm1", slot)))
	without := func(name string) *inventory.Inventory {
		blocks := strings.SplitAfter(labInventory, "d::/64\"]\n")
		inv, err := inventory.Parse("lab.toml", []byte(map[string]string{"a": blocks[1], "b": blocks[0]}[name]+blocks[2]))
		if err != nil {
			t.Fatal(err)
		}
		return inv
	}
	if err := l.loop.SetInventory(t.Context(), without("a")); err == nil || !strings.Contains(err.Error(), "a: missing, but VMs still run there") {
		t.Errorf("without a: %v", err)
	}
	if err := l.loop.SetInventory(t.Context(), without("b")); err != nil {
		t.Errorf("without b: %v", err)
	}
	_, err := l.client.PrepareMove(t.Context(), request(&v1.PrepareMoveRequest{Vm: "vm1", To: "b"}))
	if connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("a move to one that is gone: %v", err)
	}
}

// What is asked of a loop that has ended is told so, at once.
func TestStoppedLoop(t *testing.T) {
	l := newLab(t, &store.Memory{})
	l.stop()
	<-l.loop.stopped
	if err := l.loop.Do(context.Background(), func(*mgmt.Core) { t.Error("done by a loop that has ended") }); !errors.Is(err, ErrStopping) {
		t.Errorf("Do: %v, want ErrStopping", err)
	}
	_, err := l.loop.Command(context.Background(), func(mgmt.CommandID) mgmt.Event { t.Error("asked for the command"); return nil })
	if !errors.Is(err, ErrStopping) {
		t.Errorf("Command: %v, want ErrStopping", err)
	}
	if _, err := l.client.ListMoves(context.Background(), request(&v1.ListMovesRequest{})); connect.CodeOf(err) != connect.CodeUnavailable {
		t.Errorf("over the interface: %v, want unavailable", err)
	}
}

func TestAuthorise(t *testing.T) {
	inner := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := mayReport(r.Context(), "a"); err != nil {
			http.Error(w, err.Error(), http.StatusTeapot)
		}
	})
	const management, report = "/dpmip.v1.ManagementService/ListMoves", "/dpmip.v1.ReportService/ReportMove"
	ops := []string{"ops"}
	for _, tc := range []struct {
		operators  []string
		name, path string
		want       int
	}{
		{ops, "", management, http.StatusUnauthorized},
		{ops, "ops", management, http.StatusOK},
		{ops, "ops", report, http.StatusOK},
		{ops, "a", management, http.StatusForbidden},
		{ops, "a", report, http.StatusOK},
		{ops, "b", report, http.StatusTeapot},
		{nil, "a", management, http.StatusForbidden}, // a hypervisor's key never moves VMs
	} {
		r := httptest.NewRequest(http.MethodPost, tc.path, nil)
		if tc.name != "" {
			r.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{Subject: pkix.Name{CommonName: tc.name}}}}}
		}
		w := httptest.NewRecorder()
		Authorise(tc.operators, inner).ServeHTTP(w, r)
		if w.Code != tc.want {
			t.Errorf("%q at %s: %d, want %d", tc.name, tc.path, w.Code, tc.want)
		}
	}
}

func TestLoadKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "receipt.key")
	made, err := LoadKey(path)
	if err != nil {
		t.Fatal(err)
	}
	again, err := LoadKey(path)
	if err != nil || !made.Equal(again) {
		t.Errorf("the key is not the same again: %v", err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKey(path); err == nil || !strings.Contains(err.Error(), "want 0600") {
		t.Errorf("a key that others may read: %v", err)
	}
	if err := errors.Join(os.WriteFile(path, []byte("00"), 0o600), os.Chmod(path, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKey(path); err == nil || !strings.Contains(err.Error(), "want 32 bytes") {
		t.Errorf("half a key: %v", err)
	}
}

// TestDoctorTellsClaims: who claims what another has is named.
func TestDoctorTellsClaims(t *testing.T) {
	l := newLab(t, &store.Memory{})
	l.reply(l.submit(hostA, register("vm1", slot)))
	if r := l.reply(l.submit(hostB, register("vm9", slot))); r.Status == mobility.StatusAccepted {
		t.Fatal("two VMs have one address")
	}
	doc, err := l.client.Doctor(t.Context(), request(&v1.DoctorRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]*v1.Check{}
	for _, c := range doc.Msg.Checks {
		found[c.Name] = c
	}
	if c := found["claims"]; c.GetState() != "warning" || !strings.HasPrefix(c.GetFound(), "b claims ") || !strings.Contains(c.GetFound(), "belongs to vm vm1 at a (1 so far, last ") {
		t.Errorf("claims: %v", c)
	}
	for _, name := range []string{"departures", "observers"} {
		if c := found[name]; c.GetState() != "ok" {
			t.Errorf("%s: %v", name, c)
		}
	}
}
