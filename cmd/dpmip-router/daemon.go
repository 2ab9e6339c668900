package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/api/dpmip/v1/dpmipv1connect"
	"github.com/dpmip/dpmip/internal/admin"
	"github.com/dpmip/dpmip/internal/buildinfo"
	"github.com/dpmip/dpmip/internal/peerconf"
	"github.com/dpmip/dpmip/internal/task"
	"github.com/dpmip/dpmip/mobility/registration"
	"github.com/dpmip/dpmip/mobility/transport"
	"github.com/dpmip/dpmip/router"
	"github.com/dpmip/dpmip/router/bgp"
	"github.com/dpmip/dpmip/router/fib"
	"github.com/dpmip/dpmip/router/igp"
	"github.com/dpmip/dpmip/router/state"
)

// daemon holds what run needs open, in the order of opening.
type daemon struct {
	cfg      *config
	log      *slog.Logger
	registry *prometheus.Registry
	store    *state.File
	fib      *fib.FIB
	journal  *fib.Journal
	lookup   *netlink.Handle // questions about any route
	conn     *transport.Conn
	frr      *igp.Options // nil: no FRR beside us
	bgp      *bgp.Config  // nil: no border router
	border   *bgp.Border  // nil: likewise
	imports  *fib.FIB     // of the border router
	server   *router.Server
	restored []router.Change
	ctx      context.Context // of the running tasks; set by run before any callback
}

func open(cfg *config, stderr io.Writer) (*daemon, error) {
	d := &daemon{cfg: cfg, registry: prometheus.NewRegistry()}
	d.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, step := range []func() error{d.logger(stderr), d.openStore, d.openFIB, d.openConn, d.openServer, d.openRoles} {
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

func (d *daemon) openStore() (err error) {
	if err := os.MkdirAll(d.cfg.StateDir.String(), 0o700); err != nil {
		return err
	}
	d.store, err = state.Open(filepath.Join(d.cfg.StateDir.String(), "router.db"), time.Now())
	return err
}

func (d *daemon) openFIB() (err error) {
	if d.fib, err = fib.Open(d.cfg.metrics()); err != nil {
		return err
	}
	d.journal = fib.NewJournal()
	d.lookup, err = netlink.NewHandle(unix.NETLINK_ROUTE)
	return err
}

func (d *daemon) openConn() error {
	var locators []netip.Addr
	for _, l := range d.cfg.Locators {
		locators = append(locators, l.Addr)
	}
	conn, err := transport.Open(transport.Config{
		Locators: locators, LockDir: d.cfg.StateDir.String(), Enterprise: d.cfg.Enterprise,
		Unreachable: func(a netip.Addr) { d.server.Unreachable(d.ctx, router.Unreachable{Peer: a}) },
	})
	if err != nil {
		return err
	}
	d.conn = conn
	table, err := transport.NewTable(peerconf.Peers(d.cfg.Management), d.cfg.Insecure)
	if err != nil {
		return err
	}
	conn.SetPeers(table)
	return nil
}

func (d *daemon) openServer() error {
	restarts, err := d.store.Restarts()
	if err != nil {
		return err
	}
	var seed [8]byte
	rand.Read(seed[:])
	core, err := router.NewCore(router.Config{Node: d.cfg.node(binary.NativeEndian.Uint64(seed[:]), restarts), MaxRoutes: d.cfg.MaxRoutes})
	if err != nil {
		return err
	}
	routes, err := d.store.Load()
	if err != nil {
		return err
	}
	passed, err := d.store.Passed()
	if err != nil {
		return err
	}
	d.restored = core.Restore(routes, passed)
	d.registry.MustRegister(admin.Counters("dpmip_router_transport_total", "Mobility Header transport, by event.", d.conn.Counters))
	d.server = router.NewServer(core, d.fib, d.store, d.conn, d.log, router.NewMetrics(d.registry), d.cfg.Timers.Resync.D())
	return nil
}

// openRoles opens what only some routers do.
func (d *daemon) openRoles() (err error) {
	if d.frr, err = d.cfg.FRR.options(); err != nil {
		return err
	}
	if d.bgp, err = d.cfg.BGP.border(); err != nil || d.bgp == nil {
		return err
	}
	if d.imports, err = fib.Open(fib.Metrics{Default: d.cfg.BGP.Metric}); err != nil {
		return err
	}
	d.border = bgp.NewBorder(d.bgp, bgp.NewGoBGP(d.bgp, d.log), d.imports, d.log, bgp.NewMetrics(d.registry), d.cfg.Timers.Resync.D())
	d.server.Announce(d.border)
	return nil
}

// close lets go of everything that open has opened; routes stay.
func (d *daemon) close() {
	if d.conn != nil {
		d.conn.Close()
	}
	if d.fib != nil {
		d.fib.Close()
	}
	if d.imports != nil {
		d.imports.Close()
	}
	if d.lookup != nil {
		d.lookup.Close()
	}
	if d.store != nil {
		d.store.Close()
	}
}

func (d *daemon) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d.ctx = ctx
	loop := router.Loop{Server: d.server, Restored: d.restored}
	tasks := []task.Task{
		task.Signals(nil),
		d.journal,
		loop,
		task.Func("kernel watch", func(ctx context.Context) error { return fib.Watch(ctx, d.server.Changed()) }),
		task.Func("mobility transport", func(ctx context.Context) error {
			return d.conn.Run(ctx, func(batch []registration.Inbound) { d.server.Handle(ctx, batch) })
		}),
	}
	tasks = append(tasks, d.borderTasks()...)
	if d.cfg.Report.Target != "" {
		r, err := newReporter(d)
		if err != nil {
			return err
		}
		defer r.close()
		p, probes, err := newProver(d, r.client)
		if err != nil {
			return err
		}
		defer probes.Close()
		tasks = append(tasks, r, p)
	}
	handler := d.adminHandler()
	alive := func(ctx context.Context) error { _, err := d.server.Routes(ctx); return err }
	tasks = append(tasks, admin.Socket(d.cfg.Socket.String(), handler), task.Watchdog(alive))
	if a := &d.cfg.Admin; a.Listen != "" {
		conf, err := a.tls()
		if err != nil {
			return err
		}
		tasks = append(tasks, admin.TCP(a.Listen, conf, handler))
	}
	if d.cfg.Metrics != "" {
		tasks = append(tasks, admin.TCP(d.cfg.Metrics, nil, admin.Health(d.registry, d.healthy)))
	}
	d.log.Info("dpmip-router starts", "version", buildinfo.Version(), "locators", d.cfg.Locators, "routes", len(d.restored))
	return task.Group{Tasks: tasks, OnReady: func() {
		d.log.Info("ready")
		if err := task.Notify("READY=1"); err != nil {
			d.log.Warn("telling systemd", "err", err)
		}
	}}.Run(ctx)
}

func (d *daemon) borderTasks() []task.Task {
	if d.border == nil {
		return nil
	}
	watch := func(ctx context.Context) error { return fib.Watch(ctx, d.border.Changed()) }
	return []task.Task{d.border, task.Func("kernel watch of imports", watch)}
}

func (d *daemon) adminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle(dpmipv1connect.NewRouterServiceHandler(&service{d: d}))
	mux.Handle("/", admin.Health(d.registry, d.healthy))
	return mux
}

// roles are what this router does.
func (d *daemon) roles() []string {
	if d.border != nil {
		return []string{"default-router", "border-router"}
	}
	return []string{"default-router"}
}

// healthy is an error while a route that should be in the kernel is not.
func (d *daemon) healthy(ctx context.Context) error {
	routes, err := d.server.Routes(ctx)
	if err != nil {
		return err
	}
	for _, r := range routes {
		if r.Err != "" {
			return fmt.Errorf("host route %s: %s", r.Address, r.Err)
		}
	}
	return nil
}
