package main

import (
	"bytes"
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sys/unix"

	dpmipv1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/api/dpmip/v1/dpmipv1connect"
	"github.com/dpmip/dpmip/internal/strictconf"
	"github.com/dpmip/dpmip/mgmtclient"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
	"github.com/dpmip/dpmip/mobility/transport"
	"github.com/dpmip/dpmip/mobility/wire"
)

// example is the configuration that users start from, with the paths of a test.
func example(t *testing.T) *config {
	t.Helper()
	cfg, err := strictconf.Load[config]("example/agent.toml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	at := func(name string) strictconf.Path { return strictconf.Path(filepath.Join(dir, name)) }
	cfg.StateDir, cfg.Socket, cfg.Region.Path = at("state"), at("agent.sock"), at("region")
	cfg.Metrics, cfg.Report.Target, cfg.Device.BPFDir = "", "", at("bpf")
	t.Cleanup(func() { _ = unix.Unmount(cfg.bpfDir(), unix.MNT_DETACH) }) // what the device leaves mounted
	cfg.Timers.FirstRetry, cfg.Timers.Retry = strictconf.Duration(50*time.Millisecond), strictconf.Duration(50*time.Millisecond)
	return &cfg
}

// management is the management node's end: a registration.Node over the real
// transport, in the same namespace.
type management struct {
	t    *testing.T
	conn *transport.Conn
	mu   sync.Mutex // guards the rest
	node *registration.Node
	// answer gives the Reply to a Request of the agent.
	answer  func(registration.Request) registration.Reply
	asked   []registration.Request
	replies map[registration.Token]chan registration.Reply
	token   registration.Token
}

func newManagement(t *testing.T, cfg *config) *management {
	t.Helper()
	self := cfg.Management[0].Locator.Addr
	node, err := registration.NewNode(registration.Config{Role: registration.RoleManagement, Self: self, Heartbeat: -1, Seed: 7, FirstRetry: 50 * time.Millisecond, Retry: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := transport.Open(transport.Config{Locators: []netip.Addr{self}, LockDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	k := cfg.Management[0].Keys[0]
	key := func(spi uint32) transport.Key {
		return transport.Key{SPI: spi, Algorithm: wire.HMACSHA256, Secret: k.Secret.Bytes()}
	}
	hv, _ := cfg.self()
	table, err := transport.NewTable([]transport.Peer{{Addr: hv, Receive: []transport.Key{key(k.Send)}, Send: key(k.Receive)}}, false)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetPeers(table)
	m := &management{t: t, conn: conn, node: node, replies: map[registration.Token]chan registration.Reply{}}
	m.answer = func(r registration.Request) registration.Reply {
		return registration.Reply{Lifetime: r.Lifetime, Epoch: max(r.Epoch, 1)}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = conn.Run(ctx, m.receive) }()
	ticks := make(chan struct{})
	go func() { defer close(ticks); m.tick(ctx) }()
	t.Cleanup(func() { cancel(); <-done; <-ticks; conn.Close() })
	return m
}

// tick retransmits.
func (m *management) tick(ctx context.Context) {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			m.mu.Lock()
			m.carry(m.node.Tick(now, nil))
			m.mu.Unlock()
		}
	}
}

func (m *management) receive(batch []registration.Inbound) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, in := range batch {
		m.carry(m.node.Receive(time.Now(), in, nil))
	}
}

// carry carries out what the machine wants; m.mu is held.
func (m *management) carry(effects []registration.Effect) {
	for _, e := range effects {
		switch e := e.(type) {
		case registration.Send:
			if err := m.conn.Send(context.Background(), []registration.Send{e}); err != nil {
				m.t.Logf("management: %v", err)
			}
		case registration.Ask:
			m.asked = append(m.asked, e.Request)
			m.carry(m.node.Answer(time.Now(), e.Handle, m.answer(e.Request), nil))
		case registration.Replied:
			m.replies[e.Token] <- e.Reply
		}
	}
}

// ask sends a Request and waits for its Reply.
func (m *management) ask(to netip.Addr, r registration.Request) registration.Reply {
	m.t.Helper()
	ch := make(chan registration.Reply, 1)
	m.mu.Lock()
	m.token++
	m.replies[m.token] = ch
	m.carry(m.node.Submit(time.Now(), m.token, to, r, nil))
	m.mu.Unlock()
	select {
	case reply := <-ch:
		return reply
	case <-time.After(10 * time.Second):
		m.t.Fatalf("no reply to %+v", r)
		panic("unreachable")
	}
}

func (m *management) last() registration.Request {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.asked[len(m.asked)-1]
}

// serve runs an agent until stop.
func serve(t *testing.T, cfg *config) (c dpmipv1connect.AgentServiceClient, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var log bytes.Buffer
	p, err := open(ctx, cfg, &log)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- p.run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("agent: %v", err)
		}
		if err := p.close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if t.Failed() {
			t.Logf("log of the agent:\n%s", log.String())
		}
	})
	t.Cleanup(stop)
	if c, err = mgmtclient.OpenAgent(mgmtclient.Target{Address: cfg.Socket.String()}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.ready:
	case err := <-done:
		t.Fatalf("agent: %v\n%s", err, log.String())
	}
	return c, stop
}

// TestVertical is one VM's life over real sockets and the software backend:
// attach, move away, and another VM's arrival; with a new process in between.
func TestVertical(t *testing.T) {
	network(t)
	cfg := example(t)
	m := newManagement(t, cfg)
	c, stop := serve(t, cfg)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	self, _ := cfg.self()
	old, d := netip.MustParseAddr("2001:db8:a:1::1"), netip.MustParseAddr("2001:db8:b:d::1")

	attached, err := c.AttachVM(ctx, connect.NewRequest(&dpmipv1.AttachVMRequest{
		Vm: "vm1@lab", Mac: "02:00:00:00:00:11", Addresses: []string{old.String(), "10.1.1.1"}, WaitNs: int64(10 * time.Second),
	}))
	if err != nil {
		t.Fatal(err)
	}
	if vm := attached.Msg.Vm; !vm.Registered || vm.Role != "serving" || vm.Port != "vp-vm1" || vm.Epoch != 1 {
		t.Errorf("attached: %v", vm)
	}
	if _, err := c.ReleaseVM(ctx, connect.NewRequest(&dpmipv1.ReleaseVMRequest{Vm: "vm1@lab"})); connect.CodeOf(err) != connect.CodeFailedPrecondition {
		t.Errorf("release without a move: %v", err)
	}

	hot := mobility.MoveOptions{Mode: mobility.ModeHot, Addresses: mobility.AddressesKeep, Redirect: mobility.RedirectTranslated, New: mobility.PolicyRedirect}
	pairs := []mobility.Pair{{Old: old, New: d}, {Old: netip.MustParseAddr("10.1.1.1"), New: netip.MustParseAddr("10.2.2.1")}}
	req := registration.Request{
		VM: mobility.NAI("vm1@lab"), Handoff: mobility.HandoffMove, Lifetime: 15, Epoch: 2, Move: hot.WithPhase(mobility.PhasePrepare),
		Pairs: pairs, CareOf: netip.MustParseAddr("2001:db8:0:b::b"),
	}
	if r := m.ask(self, req); r.Status != mobility.StatusAccepted {
		t.Fatalf("prepare: %v", r.Status)
	}
	released, err := c.ReleaseVM(ctx, connect.NewRequest(&dpmipv1.ReleaseVMRequest{Vm: "vm1@lab"}))
	if err != nil || released.Msg.Epoch != 2 || released.Msg.ArmedNs == 0 {
		t.Fatalf("release: %v, %v", released, err)
	}
	t.Logf("armed in %v", time.Duration(released.Msg.TookNs))

	stop() // a successor takes over
	c, _ = serve(t, cfg)
	checkRule(ctx, t, c, "redirect", old.String(), true)
	req.Move = hot.WithPhase(mobility.PhaseCommit)
	if r := m.ask(self, req); r.Status != mobility.StatusAccepted {
		t.Fatalf("redirect: %v", r.Status)
	}
	checkRule(ctx, t, c, "redirect", old.String(), true)
	if rules := rulesOf(ctx, t, c, "deliver"); len(rules) != 0 {
		t.Errorf("delivered after the COMMIT: %v", rules)
	}
	arrive(ctx, t, m, c, self, hot)
	doctor, err := c.Doctor(ctx, connect.NewRequest(&dpmipv1.DoctorRequest{}))
	if err != nil || len(doctor.Msg.Checks) == 0 {
		t.Errorf("doctor: %v, %v", doctor, err)
	}
	for _, check := range doctor.Msg.Checks {
		if check.State == "" || check.Name == "rules" && check.State != "ok" {
			t.Errorf("doctor: %v", check)
		}
	}
	if _, err := c.ListDrops(ctx, connect.NewRequest(&dpmipv1.ListDropsRequest{})); err != nil {
		t.Error(err)
	}
}

// arrive brings vm2 here.
func arrive(ctx context.Context, t *testing.T, m *management, c dpmipv1connect.AgentServiceClient, self netip.Addr, hot mobility.MoveOptions) {
	t.Helper()
	old := netip.MustParseAddr("2001:db8:b:1::2")
	r := m.ask(self, registration.Request{
		VM: mobility.NAI("vm2@lab"), MAC: mobility.MAC{2, 0, 0, 0, 0, 0x22}, Handoff: mobility.HandoffMove, Lifetime: 15, Epoch: 5,
		Move: hot.WithPhase(mobility.PhasePrepare), Ticket: mobility.Ticket{9}, Pairs: []mobility.Pair{{Old: old, New: old}}, CareOf: netip.MustParseAddr("2001:db8:0:b::b"),
	})
	if r.Status != mobility.StatusAccepted || len(r.Deliveries) != 1 {
		t.Fatalf("prepare: %v %v", r.Status, r.Deliveries)
	}
	checkRule(ctx, t, c, "deliver", r.Deliveries[0].D.String(), false)
	a, err := c.ActivateVM(ctx, connect.NewRequest(&dpmipv1.ActivateVMRequest{Vm: "vm2@lab", WaitNs: int64(10 * time.Second)}))
	if err != nil || !a.Msg.Committed || a.Msg.Epoch != 5 {
		t.Fatalf("activate: %v, %v", a, err)
	}
	if commit := m.last(); commit.Ticket != (mobility.Ticket{9}) || commit.Epoch != 5 || len(commit.Deliveries) != 1 {
		t.Errorf("commit: %+v", commit)
	}
	checkRule(ctx, t, c, "deliver", old.String(), true)
}

func rulesOf(ctx context.Context, t *testing.T, c dpmipv1connect.AgentServiceClient, kind string) []*dpmipv1.Rule {
	t.Helper()
	r, err := c.ListRules(ctx, connect.NewRequest(&dpmipv1.ListRulesRequest{Kind: kind}))
	if err != nil {
		t.Fatal(err)
	}
	return r.Msg.Rules
}

func checkRule(ctx context.Context, t *testing.T, c dpmipv1connect.AgentServiceClient, kind, address string, on bool) {
	t.Helper()
	rules := rulesOf(ctx, t, c, kind)
	for _, r := range rules {
		if r.Address == address {
			if r.On != on || r.Error != "" {
				t.Errorf("%s %s: %v, want on %t", kind, address, r, on)
			}
			return
		}
	}
	t.Errorf("no %s %s among %v", kind, address, rules)
}

func TestCheckConfig(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("example/agent.toml")
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ from, to, want string }{
		"good":            {"", "", ""},
		"unknown key":     {"misses      = 3", "miss = 3", "timers.miss"},
		"wrong type":      {`size   = 16777216`, `size = "much"`, "region.size"},
		"overlap":         {`"10.1.2.0/24"]`, `"10.1.1.128/25"]`, "pools[1]"},
		"narrow pool":     {`"2001:db8:a:d::/64"`, `"2001:db8:a:d::/112"`, "pools[0]"},
		"no key":          {"key     = ", "kay = ", "management[0].keys[0]"},
		"one SPI twice":   {"receive = 4002", "receive = 4001", "management"},
		"three locators":  {`"10.0.10.10"]`, `"10.0.10.10", "10.0.10.11"]`, "locators"},
		"no fabric":       {`["eth0"]`, `[]`, "device.fabric"},
		"unknown backend": {`backend = "auto"`, `backend = "xdp"`, "device.backend"},
		"skip_hw":         {`backend = "auto"`, "backend = \"software\"\nskip_hw = true", "device.skip_hw"},
		"TCX first":       {"backend = \"auto\"\nattach  = \"auto\"", "backend = \"switchdev\"\nattach = \"tcx\"", "device.attach"},
		"VM twice":        {"[[management]]", "[[vm]]\nid = \"db1@dc1.example\"\n[[management]]", "vm[1].id"},
		"small region":    {"16777216", "4096", "region.size"},
		"locator in pool": {`"10.0.10.10"]`, `"10.1.2.10"]`, "pools[1]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := string(data)
			if tc.from != "" && !strings.Contains(text, tc.from) {
				t.Fatalf("the example has no %q", tc.from)
			}
			path := filepath.Join(t.TempDir(), "agent.toml")
			if err := os.WriteFile(path, []byte(strings.Replace(text, tc.from, tc.to, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			var out, errs bytes.Buffer
			err := run(context.Background(), []string{"--check-config", "--config", path}, &out, &errs)
			switch {
			case tc.want == "" && err != nil:
				t.Error(err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), path)):
				t.Errorf("err = %v, want one that names %s and the file", err, tc.want)
			}
		})
	}
}
