package daemon

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/dpmip/dpmip/agent"
	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/haltest"
	"github.com/dpmip/dpmip/internal/task"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
	"github.com/dpmip/dpmip/mobility/wire"
	"github.com/dpmip/dpmip/offload"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	locM, locA, locB = netip.MustParseAddr("2001:db8:ff::1"), netip.MustParseAddr("2001:db8:ff::a"), netip.MustParseAddr("2001:db8:ff::b")
	old6, d6         = netip.MustParseAddr("2001:db8:a::1"), netip.MustParseAddr("2001:db8:b:d::1")
	vm1              = mobility.NAI("vm1@lab")
)

// memory is a region in the test's own memory.
type memory struct {
	b      []byte
	origin hwabstraction.RegionOrigin
}

func newMemory(size int) *memory {
	b := make([]byte, size+4096)
	at := -int(uintptr(unsafe.Pointer(&b[0]))) & 4095
	return &memory{b: b[at : at+size : at+size], origin: hwabstraction.RegionCreated}
}

func (m *memory) Bytes() []byte                          { return m.b }
func (m *memory) Size() int64                            { return int64(len(m.b)) }
func (m *memory) Sync() error                            { return nil }
func (m *memory) Identity() hwabstraction.RegionIdentity { return hwabstraction.RegionIdentity{} }
func (m *memory) Origin() hwabstraction.RegionOrigin     { return m.origin }
func (m *memory) Close() error                           { return nil }

// network joins an agent's Loop and a management node's machine in memory.
type network struct {
	t    *testing.T
	loop *Loop
	ctx  context.Context

	mu      sync.Mutex // guards node and replies
	node    *registration.Node
	replies map[registration.Token]chan registration.Reply
	token   registration.Token
}

// Send is what the agent sends.
func (n *network) Send(_ context.Context, msgs []registration.Send) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range msgs {
		n.carry(n.node.Receive(time.Now(), inbound(n.t, locA, s.Payload), nil))
	}
	return nil
}

func inbound(t *testing.T, from netip.Addr, b []byte) registration.Inbound {
	m := new(wire.Message)
	if err := m.Parse(b); err != nil {
		t.Error(err)
	}
	return registration.Inbound{From: from, Message: m, Bytes: b, Auth: registration.AuthOK}
}

func (n *network) carry(effects []registration.Effect) {
	for _, e := range effects {
		switch e := e.(type) {
		case registration.Send:
			b := append([]byte(nil), e.Payload...)
			go n.loop.Handle(n.ctx, []registration.Inbound{inbound(n.t, locM, b)})
		case registration.Ask:
			n.carry(n.node.Answer(time.Now(), e.Handle, registration.Reply{Lifetime: e.Request.Lifetime, Epoch: max(1, e.Request.Epoch)}, nil))
		case registration.Replied:
			n.replies[e.Token] <- e.Reply
		}
	}
}

func (n *network) submit(r registration.Request) chan registration.Reply {
	ch := make(chan registration.Reply, 1)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.token++
	n.replies[n.token] = ch
	n.carry(n.node.Submit(time.Now(), n.token, locA, r, nil))
	return ch
}

func (n *network) accepted(r registration.Request) {
	n.t.Helper()
	if reply := <-n.submit(r); !reply.Status.Accepted() {
		n.t.Fatalf("%v", reply.Status)
	}
}

// rig is a whole agent over a device in memory.
type rig struct {
	*network
	dev    *haltest.Chaos
	region *memory
	disk   string
	stop   func()
}

func newRig(t *testing.T, dev *haltest.Chaos, region *memory, diskPath string) *rig {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	disk, err := OpenDisk(diskPath, log)
	if err != nil {
		t.Fatal(err)
	}
	records, restored, fresh, err := OpenRecords(region, disk, log)
	if err != nil {
		t.Fatal(err)
	}
	rec := offload.NewReconciler(offload.ReconcilerConfig{Device: dev})
	if _, err := rec.Adopt(context.Background()); err != nil {
		t.Fatal(err)
	}
	core, err := agent.NewCore(agent.Config{
		Registration: registration.Config{Self: locA, Management: []netip.Addr{locM}, Heartbeat: -1, Seed: 1},
		Ranges:       []netip.Prefix{netip.MustParsePrefix("2001:db8:a::/64")}, Pools: []netip.Prefix{netip.MustParsePrefix("2001:db8:a:d::/64")},
		PortTemplate: "p-{vm}", Capabilities: dev.Capabilities(),
	})
	if err != nil {
		t.Fatal(err)
	}
	node, err := registration.NewNode(registration.Config{Role: registration.RoleManagement, Self: locM, Heartbeat: -1, Seed: 2})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n := &network{t: t, ctx: ctx, node: node, replies: map[registration.Token]chan registration.Reply{}}
	w := NewWorker(&agent.Hands{Device: dev, Reconciler: rec}, mobility.MAC{}, log)
	post := NewPost(n, log)
	n.loop = NewLoop(Parts{
		Core: core, Store: records, Worker: w, Post: post, Metrics: NewMetrics(prometheus.NewRegistry()), Log: log, Restored: restored, Rebooted: fresh,
	})
	done := make(chan error, 1)
	go func() { done <- task.Group{Tasks: []task.Task{disk, w, post, n.loop}}.Run(ctx) }()
	r := &rig{network: n, dev: dev, region: region, disk: diskPath}
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := disk.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(r.stop)
	<-n.loop.Ready()
	return r
}

// command gives a command and waits for its answer.
func (r *rig) command(make_ func(agent.CommandID) agent.Event) agent.Answer {
	r.t.Helper()
	a, err := r.loop.Command(context.Background(), make_)
	if err != nil {
		r.t.Fatal(err)
	}
	return a
}

func (r *rig) attach(vm mobility.VMID, addr netip.Addr) {
	r.t.Helper()
	a := r.command(func(id agent.CommandID) agent.Event {
		return agent.Attach{ID: id, VM: vm, MAC: mobility.MAC{2, 1}, Addresses: []netip.Addr{addr}, Wait: time.Minute}
	})
	if !a.VM.Registered {
		r.t.Fatalf("attach: %+v", a)
	}
}

func prepare(e mobility.Epoch, p mobility.Phase) registration.Request {
	return registration.Request{
		VM: vm1, Handoff: mobility.HandoffMove, Lifetime: 900, Epoch: e, CareOf: locB, Pairs: []mobility.Pair{{Old: old6, New: d6}},
		Move: mobility.MoveOptions{Mode: mobility.ModeHot, Addresses: mobility.AddressesKeep, Redirect: mobility.RedirectTranslated, New: mobility.PolicyRedirect, Phase: p},
	}
}

func release(id agent.CommandID) agent.Event { return agent.Release{ID: id, VM: vm1} }

// A device that is slow to take another VM's rules does not delay a release.
func TestReleaseWaitsForNothing(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	dev := haltest.NewChaos(haltest.Plan{Pause: func(context.Context, time.Duration) error {
		close(entered)
		<-leave
		return nil
	}})
	r := newRig(t, dev, newMemory(1<<20), filepath.Join(t.TempDir(), "agent.db"))
	r.attach(vm1, old6)
	r.accepted(prepare(2, mobility.PhasePrepare))

	dev.Inject(haltest.Fault{Apply: 1, Delay: time.Hour})
	other := make(chan struct{})
	go func() {
		defer close(other)
		r.attach(mobility.NAI("vm2@lab"), netip.MustParseAddr("2001:db8:a::2"))
	}()
	<-entered
	if a := r.command(release); a.Epoch != 2 {
		t.Errorf("release: %+v", a)
	}
	if d := dev.Decide(old6); d.Act != haltest.ActRedirect {
		t.Errorf("after the release %s goes %v", old6, d.Act)
	}
	select {
	case <-other:
		t.Error("the device was not busy: nothing was tested")
	default:
	}
	close(leave)
	<-other
}

func TestRecordsSurvive(t *testing.T) {
	region, path := newMemory(1<<20), filepath.Join(t.TempDir(), "agent.db")
	dev := haltest.NewChaos(haltest.Plan{})
	r := newRig(t, dev, region, path)
	r.attach(vm1, old6)
	r.accepted(prepare(2, mobility.PhasePrepare))
	r.command(release)
	views := func() []agent.View {
		v, err := r.loop.Views(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	before := views()
	r.stop()
	same := cmp.Options{cmpopts.EquateComparable(netip.Addr{}, mobility.VMID{}), cmpopts.IgnoreUnexported(agent.View{}), cmpopts.EquateEmpty(), cmpopts.EquateApproxTime(time.Minute)}

	t.Run("the process", func(t *testing.T) {
		region.origin = hwabstraction.RegionAdopted
		r = newRig(t, dev.Reopen(), region, path)
		if diff := cmp.Diff(before, views(), same); diff != "" {
			t.Errorf("views (-before +after):\n%s", diff)
		}
		if d := r.dev.Decide(old6); d.Act != haltest.ActRedirect {
			t.Errorf("%s goes %v", old6, d.Act)
		}
		r.stop()
	})
	t.Run("a reboot", func(t *testing.T) {
		blank := newMemory(1 << 20)
		blank.origin = hwabstraction.RegionRebooted
		r = newRig(t, haltest.NewChaos(haltest.Plan{}), blank, path)
		if diff := cmp.Diff(before, views(), same); diff != "" {
			t.Errorf("views (-before +after):\n%s", diff)
		}
		r.loop.worker.Call(context.Background(), func(context.Context, *agent.Hands) {}) // what the start asked for is done
		if _, err := r.loop.Views(context.Background()); err != nil {
			t.Fatal(err)
		}
		r.stop()
	})
	t.Run("a damaged region", func(t *testing.T) {
		for i := range region.b[:4096] {
			region.b[i] ^= 0xff
		}
		r = newRig(t, haltest.NewChaos(haltest.Plan{}), region, path)
		if diff := cmp.Diff(before, views(), same); diff != "" {
			t.Errorf("views (-before +after):\n%s", diff)
		}
	})
}

// TestRestartCounterNeverRepeats: not after a start in the same second, nor when
// the file comes back from a backup.
func TestRestartCounterNeverRepeats(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.db")
	start := func(seconds int) uint32 {
		d, err := OpenDisk(path, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		n, err := d.Restarts(time.Date(2020, 1, 1, 0, 0, seconds, 0, time.UTC))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	first, again := start(100), start(100)
	backup, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	later := start(200)
	if err := os.WriteFile(path, backup, 0o600); err != nil {
		t.Fatal(err)
	}
	got := []uint32{first, again, later, start(300)}
	if diff := cmp.Diff([]uint32{100, 101, 200, 300}, got); diff != "" {
		t.Errorf("restart counters (-want +got):\n%s", diff)
	}
}
