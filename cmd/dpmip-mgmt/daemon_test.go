package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/api/dpmip/v1/dpmipv1connect"
	"github.com/dpmip/dpmip/internal/nstest"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
	"github.com/dpmip/dpmip/mobility/transport"
	"github.com/dpmip/dpmip/mobility/wire"
)

// inNamespace runs the test once more, in a process in a new network namespace
// with the example's addresses on its loopback interface. True means: go on.
func inNamespace(t *testing.T) bool {
	t.Helper()
	return nstest.Run(t, managementAt, netip.MustParseAddr("2001:db8:a::1"), netip.MustParseAddr("2001:db8:b::1"))
}

// running is a daemon in this process.
type running struct {
	t      *testing.T
	cancel context.CancelFunc
	done   chan error
	lines  chan string // of its log
}

func launch(t *testing.T, path string) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	d := &running{t: t, cancel: cancel, done: make(chan error, 1), lines: make(chan string, 1000)}
	go func() {
		d.done <- run(ctx, []string{"--config", path}, io.Discard, w)
		w.Close()
	}()
	go func() {
		for in := bufio.NewScanner(r); in.Scan(); {
			select {
			case d.lines <- in.Text():
			default: // nobody waits for so much
			}
		}
	}()
	return d
}

// says waits for a line of the log.
func (d *running) says(text string) {
	d.t.Helper()
	for {
		select {
		case line := <-d.lines:
			if strings.Contains(line, text) {
				return
			}
		case err := <-d.done:
			d.t.Fatalf("the daemon ended before it said %q: %v", text, err)
		}
	}
}

func (d *running) stop() error { d.cancel(); return <-d.done }

// started runs the daemon until stop.
func started(t *testing.T, path string) (stop func() error) {
	t.Helper()
	d := launch(t, path)
	d.says("msg=ready")
	return d.stop
}

// host is a hypervisor with a real transport that agrees to everything.
type host struct {
	t       *testing.T
	at      netip.Addr
	conn    *transport.Conn
	mu      sync.Mutex // guards what follows
	node    *registration.Node
	token   registration.Token
	ticket  mobility.Ticket
	given   []mobility.Delivery
	replies chan registration.Reply
	kinds   chan mobility.Phase
}

var managementAt = netip.MustParseAddr("2001:db8:f::1")

func newHost(t *testing.T, at string, spi uint32, key string) *host {
	t.Helper()
	secret, err := hex.DecodeString(key)
	if err != nil {
		t.Fatal(err)
	}
	h := &host{t: t, at: netip.MustParseAddr(at), replies: make(chan registration.Reply, 16), kinds: make(chan mobility.Phase, 64)}
	h.node, err = registration.NewNode(registration.Config{Role: registration.RoleHypervisor, Self: h.at, Management: []netip.Addr{managementAt}, FirstRetry: 50 * time.Millisecond, Retry: 50 * time.Millisecond, Seed: 1, RestartCount: 1})
	if err != nil {
		t.Fatal(err)
	}
	h.conn, err = transport.Open(transport.Config{Locators: []netip.Addr{h.at}, LockDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	table, err := transport.NewTable([]transport.Peer{{Addr: managementAt,
		Receive: []transport.Key{{SPI: spi, Algorithm: wire.HMACSHA256, Secret: secret}},
		Send:    transport.Key{SPI: spi + 1, Algorithm: wire.HMACSHA256, Secret: secret}}}, false)
	if err != nil {
		t.Fatal(err)
	}
	h.conn.SetPeers(table)
	ctx, cancel := context.WithCancel(context.Background())
	var tasks sync.WaitGroup
	tasks.Go(func() { _ = h.conn.Run(ctx, h.receive) })
	tasks.Go(func() { h.tick(ctx) })
	t.Cleanup(func() { cancel(); h.conn.Close(); tasks.Wait() })
	return h
}

func (h *host) receive(batch []registration.Inbound) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, in := range batch {
		h.do(h.node.Receive(time.Now(), in, nil))
	}
}

func (h *host) tick(ctx context.Context) {
	t := time.NewTicker(10 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			h.mu.Lock()
			h.do(h.node.Tick(time.Now(), nil))
			h.mu.Unlock()
		}
	}
}

func (h *host) do(effects []registration.Effect) {
	for _, e := range effects {
		switch e := e.(type) {
		case registration.Send:
			_ = h.conn.Send(context.Background(), []registration.Send{e})
		case registration.Replied:
			h.replies <- e.Reply
		case registration.Ask:
			r := registration.Reply{Lifetime: e.Request.Lifetime, Epoch: e.Request.Epoch}
			if !e.Request.Ticket.IsZero() {
				d := netip.MustParsePrefix("2001:db8:b:d::/64").Addr().Next()
				h.ticket, h.given = e.Request.Ticket, []mobility.Delivery{{Old: e.Request.Pairs[0].Old, D: d}}
				r.Deliveries = h.given
			}
			h.kinds <- e.Request.Move.Phase
			h.do(h.node.Answer(time.Now(), e.Handle, r, nil))
		}
	}
}

func (h *host) submit(r registration.Request) registration.Reply {
	h.t.Helper()
	h.mu.Lock()
	h.token++
	r.CareOf, r.Ticket = h.at, h.ticket
	if r.Handoff == mobility.HandoffMove {
		r.Deliveries = h.given
	}
	h.do(h.node.Submit(time.Now(), h.token, managementAt, r, nil))
	h.mu.Unlock()
	select {
	case r := <-h.replies:
		return r
	case <-time.After(30 * time.Second):
		h.t.Fatal("no reply")
		return registration.Reply{}
	}
}

func (h *host) heard(want mobility.Phase) {
	h.t.Helper()
	select {
	case got := <-h.kinds:
		if got != want {
			h.t.Errorf("%s heard phase %s, want %s", h.at, got, want)
		}
	case <-time.After(30 * time.Second):
		h.t.Fatalf("%s hears nothing, want phase %s", h.at, want)
	}
}

func overSocket(path string) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
}

// TestDaemon: a move on real sockets with keys, the daemon stopped between
// PREPARE and COMMIT, and once more with the source's confirmation owed.
func TestDaemon(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	dir := t.TempDir()
	socket := filepath.Join(dir, "run", "mgmt.sock")
	path := example(t, func(_, text string) string {
		return strings.NewReplacer(`"/var/lib/dpmip-mgmt"`, fmt.Sprintf("%q", filepath.Join(dir, "state")), `"/run/dpmip/mgmt.sock"`, fmt.Sprintf("%q", socket), `, "192.0.2.254"`, "").Replace(text)
	})
	stop := started(t, path)
	a := newHost(t, "2001:db8:a::1", 1001, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f")
	b := newHost(t, "2001:db8:b::1", 1003, "202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f")
	vm := mobility.NAI("vm1@dc1.example")
	r := registration.Request{VM: vm, Handoff: mobility.HandoffNew, Lifetime: 100, Slots: []netip.Addr{netip.MustParseAddr("2001:db8:a:1::1")}}
	if got := b.submit(r); got.Status != mobility.StatusAddress6 {
		t.Errorf("registered where it may not: %s", got.Status)
	}
	if got := a.submit(r); got.Status != mobility.StatusAccepted || got.Epoch != 1 {
		t.Fatalf("register: %+v", got)
	}

	web := overSocket(socket)
	defer web.CloseIdleConnections()
	client := dpmipv1connect.NewManagementServiceClient(web, "http://local", connect.WithProtoJSON())
	p, err := client.PrepareMove(t.Context(), connect.NewRequest(&v1.PrepareMoveRequest{Vm: vm.String(), To: "hv-b", WaitNs: int64(30 * time.Second)}))
	if err != nil || p.Msg.Move.State != "ready" {
		t.Fatalf("prepare: %v, %v", p, err)
	}
	a.heard(mobility.PhasePrepare)
	b.heard(mobility.PhasePrepare)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	stop = started(t, path)
	r.Handoff, r.Epoch = mobility.HandoffMove, 2
	if got := b.submit(r); got.Status != mobility.StatusAccepted || got.Epoch != 2 {
		t.Fatalf("commit after a restart: %+v", got)
	}
	a.heard(mobility.PhaseCommit)
	move := waitFor(t, client, vm, "done")
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	stop = started(t, path)
	got, err := client.GetReceipt(t.Context(), connect.NewRequest(&v1.GetReceiptRequest{Vm: vm.String()}))
	if err != nil || got.Msg.Receipt.Move.State != move.State {
		t.Errorf("receipt after a restart: %v, %v", got, err)
	}
	health(t, web, "http://local/healthz", "ok")
	health(t, web, "http://local/metrics", "dpmip_mgmt_bindings 1")
	reload(t, client, filepath.Join(filepath.Dir(path), "inventory.toml"))
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func waitFor(t *testing.T, client dpmipv1connect.ManagementServiceClient, vm mobility.VMID, state string) *v1.Move {
	t.Helper()
	watch, err := client.WatchMove(t.Context(), connect.NewRequest(&v1.WatchMoveRequest{Vm: vm.String()}))
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Close()
	for watch.Receive() {
		if watch.Msg().State == state {
			return watch.Msg()
		}
	}
	t.Fatalf("the move never was %s: %v", state, watch.Err())
	return nil
}

func health(t *testing.T, web *http.Client, url, want string) {
	t.Helper()
	resp, err := web.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || !strings.Contains(string(body), want) {
		t.Errorf("%s: %v, %q", url, err, body)
	}
}

// reload breaks the inventory, then changes it.
func reload(t *testing.T, client dpmipv1connect.ManagementServiceClient, inventory string) {
	t.Helper()
	text, err := os.ReadFile(inventory)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ old, new, want string }{
		{"tickets = true", "tickets = 1", "inventory.toml:4: policy.tickets"},
		{`grace = "10s"`, `grace = "9s"`, ""},
	} {
		if err := os.WriteFile(inventory, []byte(strings.Replace(string(text), step.old, step.new, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := client.Reload(t.Context(), connect.NewRequest(&v1.ReloadRequest{}))
		switch {
		case step.want == "" && (err != nil || len(r.Msg.Changes) != 1):
			t.Errorf("reload: %v, %v", r, err)
		case step.want != "" && (err == nil || !strings.Contains(err.Error(), step.want)):
			t.Errorf("reload: err = %v, want it to contain %q", err, step.want)
		}
	}
}
