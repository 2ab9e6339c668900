package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/api/dpmip/v1/dpmipv1connect"
	"github.com/dpmip/dpmip/internal/admin"
	"github.com/dpmip/dpmip/internal/buildinfo"
	"github.com/dpmip/dpmip/internal/task"
	"github.com/dpmip/dpmip/mgmt"
	"github.com/dpmip/dpmip/mgmt/inventory"
	"github.com/dpmip/dpmip/mgmt/server"
	"github.com/dpmip/dpmip/mgmt/store"
	"github.com/dpmip/dpmip/mobility/registration"
	"github.com/dpmip/dpmip/mobility/transport"
)

// daemon holds what run needs open, in the order of opening.
type daemon struct {
	cfg      *config
	inv      *inventory.Inventory
	log      *slog.Logger
	registry *prometheus.Registry
	metrics  *server.Metrics
	store    records
	conn     *transport.Conn
	loop     *server.Loop
	names    *names          // nil = no [dns]
	reloads  sync.Mutex      // one reload at a time
	ctx      context.Context // of the running tasks; set by run before any callback
}

func open(ctx context.Context, cfg *config, inv *inventory.Inventory, stderr io.Writer) (*daemon, error) {
	d := &daemon{cfg: cfg, inv: inv, registry: prometheus.NewRegistry()}
	d.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	d.metrics = server.NewMetrics(d.registry)
	for _, step := range []func() error{d.logger(stderr), func() error { return d.openStore(ctx) }, d.openConn, d.openLoop} {
		if err := step(); err != nil {
			d.close()
			return nil, err
		}
	}
	return d, nil
}

func (d *daemon) logger(w io.Writer) func() error {
	return func() (err error) {
		d.log, err = admin.Logger(w, d.cfg.LogFormat, d.cfg.LogLevel)
		return err
	}
}

func (d *daemon) openStore(ctx context.Context) error {
	if err := os.MkdirAll(d.cfg.StateDir.String(), 0o700); err != nil {
		return err
	}
	s, err := openRecords(ctx, d.cfg, d.log)
	if err != nil {
		return err
	}
	d.store = s
	return nil
}

// handOver bounds how long a replica that leads now waits for the locator.
const handOver = 5 * time.Second

func (d *daemon) openTransport() (*transport.Conn, error) {
	return transport.Open(transport.Config{
		Locators: d.cfg.locators(), LockDir: d.cfg.StateDir.String(), Device: d.cfg.Device, Enterprise: d.cfg.Enterprise,
		Unreachable: func(a netip.Addr) { d.loop.Unreachable(d.ctx, a) },
	})
}

func (d *daemon) openConn() error {
	conn, err := d.openTransport()
	// A replica beside this one has led a moment ago, and is about to end.
	for end := time.Now().Add(handOver); errors.Is(err, transport.ErrLocked) && d.cfg.Store.Kind == "etcd" && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
		conn, err = d.openTransport()
	}
	if err != nil {
		return err
	}
	d.conn = conn
	d.registry.MustRegister(admin.Counters("dpmip_mgmt_transport_total", "Mobility Header messages by what became of them.", conn.Counters))
	table, err := peers(d.inv)
	if err != nil {
		return err
	}
	conn.SetPeers(table)
	return nil
}

func (d *daemon) openLoop() error {
	key, err := server.LoadKey(d.cfg.state("receipt.key"))
	if err != nil {
		return err
	}
	var records []mgmt.Record
	if err := d.store.Load(func(r store.Record) error { records = append(records, r); return nil }); err != nil {
		return err
	}
	var seed [8]byte
	rand.Read(seed[:])
	core, first, err := mgmt.New(time.Now(), mgmt.Config{
		Inventory: d.inv, Self: d.cfg.locators()[0], Key: key, Random: rand.Reader,
		Seed: binary.NativeEndian.Uint64(seed[:]), Enterprise: d.cfg.Enterprise, NamesTTL: d.cfg.moveTTL(),
	}, records)
	if err != nil {
		return err
	}
	bindings, moves := core.Size()
	d.log.Info("restored", "bindings", bindings, "moves", moves, "restart_counter", core.Restart())
	d.loop = server.NewLoop(core, first, d.store, d.conn, d.log, d.metrics)
	d.registry.MustRegister(server.Gauges(d.loop))
	return d.openNames()
}

// close closes what open has opened; run has ended.
func (d *daemon) close() {
	if d.conn != nil {
		d.conn.Close()
	}
	if d.store != nil {
		if err := d.store.Close(); err != nil {
			d.log.Error("closing the store", "err", err)
		}
	}
}

func (d *daemon) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d.ctx = ctx
	handler := d.adminHandler()
	tasks := []task.Task{
		d.loop,
		task.Func("mobility transport", func(ctx context.Context) error {
			return d.conn.Run(ctx, func(batch []registration.Inbound) { d.loop.Handle(ctx, batch) })
		}),
		task.Signals(func() {
			if _, err := d.reload(ctx); err != nil {
				d.log.Error("not reloaded, the old inventory stays in force", "err", err)
			}
		}),
		deposition(d.store),
		admin.Socket(d.cfg.Socket.String(), handler),
		task.Watchdog(d.healthy),
	}
	if d.names != nil {
		tasks = append(tasks, d.names)
	}
	if a := &d.cfg.Admin; a.Listen != "" {
		conf, err := a.tls()
		if err != nil {
			return err
		}
		tasks = append(tasks, admin.TCP(a.Listen, conf, server.Authorise(a.Operators, handler)))
	}
	if d.cfg.Metrics != "" {
		tasks = append(tasks, admin.TCP(d.cfg.Metrics, nil, admin.Health(d.registry, d.healthy)))
	}
	d.log.Info("dpmip-mgmt starts", "version", buildinfo.Version(), "locators", d.cfg.locators())
	return task.Group{Tasks: tasks, OnReady: func() {
		d.log.Info("ready")
		if err := task.Notify("READY=1"); err != nil {
			d.log.Warn("telling systemd", "err", err)
		}
	}}.Run(ctx)
}

func (d *daemon) adminHandler() http.Handler {
	s := &server.Service{Loop: d.loop, Reread: d.reload, Checks: d.checks}
	d.registry.MustRegister(server.RouterGauges(s))
	mux := http.NewServeMux()
	mux.Handle(dpmipv1connect.NewManagementServiceHandler(s))
	mux.Handle(dpmipv1connect.NewReportServiceHandler(s))
	mux.Handle("/", admin.Health(d.registry, d.healthy))
	return mux
}

// healthWait bounds how long a health check waits for the loop.
const healthWait = 2 * time.Second

// healthy: the loop answers.
func (d *daemon) healthy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, healthWait)
	defer cancel()
	return d.loop.Do(ctx, func(*mgmt.Core) {})
}

// reload reads inventory and keys again. A file with an error changes nothing.
func (d *daemon) reload(ctx context.Context) ([]string, error) {
	d.reloads.Lock()
	defer d.reloads.Unlock()
	inv, err := inventory.Load(d.cfg.Inventory.String())
	if err != nil {
		return nil, err
	}
	table, err := peers(inv)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.cfg.Inventory, err)
	}
	undo, err := d.reloadNames(inv) // before orders that need its zones
	if err != nil {
		return nil, err
	}
	changes := inventory.Changes(d.inv, inv)
	if err := d.loop.SetInventory(ctx, inv); err != nil {
		undo()
		return nil, fmt.Errorf("%s: %w", d.cfg.Inventory, err)
	}
	d.conn.SetPeers(table)
	d.inv = inv
	d.log.Info("inventory reloaded", "changes", changes)
	return changes, nil
}

// checks are the daemon's own part of doctor.
func (d *daemon) checks(context.Context) []*v1.Check {
	var dropped uint64
	for name, n := range d.conn.Counters() {
		if len(name) > 5 && name[:5] == "drop_" {
			dropped += n
		}
	}
	drops := &v1.Check{Name: "transport", State: "ok", Found: fmt.Sprintf("%d messages dropped since the start", dropped)}
	if dropped > 0 {
		drops.State, drops.Advice = "warning", "dpmip_mgmt_transport_total says why: a peer that is not in the inventory, a key or SPI that differs, a clock"
	}
	return []*v1.Check{drops}
}
