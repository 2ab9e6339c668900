package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/dpmip/dpmip/agent"
	"github.com/dpmip/dpmip/agent/daemon"
	"github.com/dpmip/dpmip/api/dpmip/v1/dpmipv1connect"
	"github.com/dpmip/dpmip/hwabstraction/detect"
	"github.com/dpmip/dpmip/internal/admin"
	"github.com/dpmip/dpmip/internal/buildinfo"
	"github.com/dpmip/dpmip/internal/peerconf"
	"github.com/dpmip/dpmip/internal/probe"
	"github.com/dpmip/dpmip/internal/prover"
	"github.com/dpmip/dpmip/internal/task"
	"github.com/dpmip/dpmip/mgmtclient"
	"github.com/dpmip/dpmip/mobility/registration"
	"github.com/dpmip/dpmip/mobility/transport"
	"github.com/dpmip/dpmip/offload"
)

// Areas of the region.
const (
	areaList    = "bul"
	areaJournal = "journal"
)

// process holds what run needs open, in the order of opening.
type process struct {
	cfg      *config
	log      *slog.Logger
	registry *prometheus.Registry
	disk     *daemon.Disk
	memory   *detect.Memory
	records  *records
	hardware *detect.Hardware
	settle   func() // of hurry, when the start is over; nil = nobody hurries
	hands    *agent.Hands
	worker   *daemon.Worker
	conn     *transport.Conn
	client   *mgmtclient.Client
	reports  *daemon.Reports
	probes   *probe.Socket
	traps    *daemon.Traps // nil: the device has none
	prover   *prover.Prover
	post     *daemon.Post
	loop     *daemon.Loop
	doctor   *daemon.Doctor
	ready    chan struct{}
	ctx      context.Context // of the running tasks; set by run before any callback
}

// records are what an earlier process has left in the region, or on disk.
type records struct {
	store    *daemon.Records
	restored []agent.Record
	fresh    bool // the region's own content was lost
	origin   string
}

func open(ctx context.Context, cfg *config, stderr io.Writer) (*process, error) {
	p := &process{cfg: cfg, registry: prometheus.NewRegistry(), ready: make(chan struct{})}
	p.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	var err error
	if p.log, err = admin.Logger(stderr, cfg.LogFormat, cfg.LogLevel); err != nil {
		return nil, err
	}
	for _, step := range []func(context.Context) error{p.openDisk, p.openConn, p.openRegion, p.openBoth, p.openReports, p.openProver, p.openLoop} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(err, p.close())
		}
	}
	return p, nil
}

func (p *process) openDisk(context.Context) (err error) {
	if err := os.MkdirAll(p.cfg.StateDir.String(), 0o700); err != nil {
		return err
	}
	p.disk, err = daemon.OpenDisk(filepath.Join(p.cfg.StateDir.String(), "agent.db"), p.log)
	return err
}

// openConn comes before the hardware: its lock keeps a second agent off.
func (p *process) openConn(context.Context) error {
	var locators []netip.Addr
	for _, l := range p.cfg.Locators {
		locators = append(locators, l.Addr)
	}
	conn, err := transport.Open(transport.Config{
		Locators: locators, LockDir: p.cfg.StateDir.String(), Enterprise: p.cfg.Enterprise,
		Unreachable: func(a netip.Addr) { p.loop.Unreachable(p.ctx, agent.Unreachable{To: a}) },
	})
	if err != nil {
		return err
	}
	p.conn = conn
	table, err := transport.NewTable(peerconf.Peers(p.cfg.Management), p.cfg.Insecure)
	if err != nil {
		return err
	}
	conn.SetPeers(table)
	p.post = daemon.NewPost(conn, p.log)
	return nil
}

func (p *process) openRegion(context.Context) (err error) {
	if err := os.MkdirAll(filepath.Dir(p.cfg.Region.Path.String()), 0o700); err != nil {
		return err
	}
	p.memory, err = detect.OpenRegion(p.cfg.hardware().Region)
	return err
}

// openBoth opens the device and reads the records, neither of which needs the
// other: a start with many of both takes as long as the longer one.
func (p *process) openBoth(ctx context.Context) error {
	read := make(chan error, 1)
	go func() { read <- p.openRecords() }()
	err := p.openHardware(ctx)
	return errors.Join(err, <-read)
}

func (p *process) openRecords() error {
	area, err := p.memory.Area(areaList)
	if err != nil {
		return err
	}
	r := &records{origin: area.Origin().String()}
	r.store, r.restored, r.fresh, err = daemon.OpenRecords(area, p.disk, p.log)
	p.records = r
	return err
}

func (p *process) openHardware(ctx context.Context) (err error) {
	if err := os.MkdirAll(p.cfg.bpfDir(), 0o700); err != nil {
		return err
	}
	c := p.cfg.hardware()
	c.Memory, c.Log = p.memory, p.log
	p.hardware, err = detect.Open(ctx, c)
	if err != nil {
		return err
	}
	rec := offload.NewReconciler(offload.ReconcilerConfig{Device: p.hardware.Device, Resync: p.cfg.Timers.Resync.D()})
	if _, err := rec.Adopt(ctx); err != nil {
		return err
	}
	p.hands = &agent.Hands{Device: p.hardware.Device, Flows: p.hardware.Flows, Reconciler: rec}
	p.worker = daemon.NewWorker(p.hands, c.GatewayMAC, p.log)
	return nil
}

func (p *process) openReports(context.Context) (err error) {
	r := &p.cfg.Report
	if r.Target == "" {
		return nil
	}
	p.client, err = mgmtclient.Open(mgmtclient.Target{
		Address: r.Target, TLS: mgmtclient.TLSFiles{CA: r.CA.String(), Cert: r.Cert.String(), Key: r.Key.String()},
	})
	if err != nil {
		return err
	}
	p.reports = daemon.NewReports(p.client, p.cfg.Name, p.log)
	return nil
}

// openProver makes the agent take part in proofs, if it can be asked.
func (p *process) openProver(context.Context) (err error) {
	if p.client == nil {
		return nil
	}
	if p.probes, err = probe.Open(); err != nil {
		return err
	}
	c := prover.Config{Node: p.cfg.Name, Management: p.client, Sender: p.probes, Log: p.log}
	if p.traps = daemon.NewTraps(p.worker); p.traps != nil {
		c.Catcher = p.traps
	}
	p.prover = prover.New(c)
	if p.traps != nil {
		p.traps.To(p.prover.Caught)
	}
	return nil
}

func (p *process) openLoop(context.Context) error {
	p.hands.KeepForeign = p.records.fresh // a list that was lost is no reason to cut anybody
	restarts, err := p.disk.Restarts(time.Now())
	if err != nil {
		return err
	}
	var seed [32]byte
	rand.Read(seed[:])
	core, err := agent.NewCore(p.cfg.agent(p.cfg.registration(binary.NativeEndian.Uint64(seed[:]), restarts), p.hardware.Device.Capabilities(), seed))
	if err != nil {
		return err
	}
	p.registry.MustRegister(admin.Counters("dpmip_agent_transport_total", "Mobility Header transport, by event.", p.conn.Counters))
	p.loop = daemon.NewLoop(daemon.Parts{
		Core: core, Store: p.records.store, Worker: p.worker, Post: p.post, Reports: p.reports, Metrics: daemon.NewMetrics(p.registry), Log: p.log,
		Restored: p.records.restored, Rebooted: p.records.fresh,
	})
	daemon.Watch(p.registry, p.loop, p.records.store)
	daemon.WatchTiers(p.registry, p.hardware.Device, p.loop)
	daemon.WatchMended(p.registry, p.hardware.Device)
	p.doctor = &daemon.Doctor{Loop: p.loop, Worker: p.worker, Records: p.records.store, Machine: p.machine}
	p.log.Info("dpmip-agent starts", "version", buildinfo.Version(), "name", p.cfg.Name, "locators", p.cfg.Locators,
		"records", len(p.records.restored), "region", p.records.origin, "restarts", restarts)
	p.records.restored = nil // the loop's now
	return nil
}

var states = map[detect.State]string{detect.StateGood: "ok", detect.StateUnknown: "unknown", detect.StateWarning: "warning", detect.StateBad: "failed"}

// machine is which backend was chosen at the start, and what the probes say of
// the machine now.
func (p *process) machine() []daemon.Check {
	out := []daemon.Check{{Name: "backend", State: "ok", Found: p.hardware.Choice.Backend + ": " + p.hardware.Reason}}
	return append(out, checks(detect.Doctor(p.cfg.hardware().Probes()))...)
}

// close lets go of everything that open has opened; every rule stays.
func (p *process) close() error {
	var errs []error
	if p.client != nil {
		errs = append(errs, p.client.Close())
	}
	if p.probes != nil {
		errs = append(errs, p.probes.Close())
	}
	if p.hardware != nil {
		errs = append(errs, p.hardware.Close())
	}
	if p.memory != nil {
		errs = append(errs, p.memory.Close())
	}
	if p.conn != nil {
		errs = append(errs, p.conn.Close())
	}
	if p.disk != nil {
		errs = append(errs, p.disk.Close())
	}
	return errors.Join(errs...)
}

func (p *process) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p.ctx = ctx
	tasks := []task.Task{task.Signals(nil), p.disk, p.worker, p.post, p.loop}
	if p.reports != nil {
		tasks = append(tasks, p.reports, p.prover)
	}
	if p.traps != nil {
		tasks = append(tasks, p.traps)
	}
	tasks = append(tasks,
		task.Func("mobility transport", func(ctx context.Context) error {
			return p.conn.Run(ctx, func(batch []registration.Inbound) { p.loop.Handle(ctx, batch) })
		}),
		admin.Socket(p.cfg.Socket.String(), p.control()),
		task.Watchdog(func(ctx context.Context) error { _, err := p.loop.Contact(ctx); return err }))
	if p.settle != nil {
		tasks = append(tasks, task.Func("end of the start", p.settled))
	}
	if p.cfg.Metrics != "" {
		tasks = append(tasks, admin.TCP(p.cfg.Metrics, nil, admin.Health(p.registry, p.doctor.Healthy)))
	}
	return task.Group{Tasks: tasks, OnReady: func() {
		p.log.Info("ready")
		close(p.ready)
		if err := task.Notify("READY=1"); err != nil {
			p.log.Warn("telling systemd", "err", err)
		}
	}}.Run(ctx)
}

// settled ends the hurry of the start when the device has every rule: until then
// looking for garbage would only take a processor away from that.
func (p *process) settled(ctx context.Context) error {
	select {
	case <-p.ready:
	case <-ctx.Done():
		return nil
	}
	if p.worker.Call(ctx, func(context.Context, *agent.Hands) {}) {
		p.settle()
	}
	<-ctx.Done()
	return nil
}

func (p *process) control() http.Handler {
	mux := http.NewServeMux()
	mux.Handle(dpmipv1connect.NewAgentServiceHandler(&daemon.Service{
		Loop: p.loop, Worker: p.worker, Checks: p.doctor.Checks, Transport: p.conn.Counters, Version: buildinfo.Version(),
	}))
	mux.Handle("/", admin.Health(p.registry, p.doctor.Healthy))
	return mux
}
