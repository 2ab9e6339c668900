package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/internal/admin"
	"github.com/dpmip/dpmip/internal/buildinfo"
	"github.com/dpmip/dpmip/internal/probe"
	"github.com/dpmip/dpmip/internal/prover"
	"github.com/dpmip/dpmip/internal/strictconf"
	"github.com/dpmip/dpmip/internal/task"
	"github.com/dpmip/dpmip/mgmtclient"
	"github.com/dpmip/dpmip/router/fib"
	"github.com/dpmip/dpmip/router/igp"
)

// observerConfig is observer.toml: that of a router that nobody tells of host
// routes, and that says which it has. docs/operations.md explains each key.
type observerConfig struct {
	Source    string        `toml:"source,required"`
	Metrics   string        `toml:"metrics"`
	LogFormat string        `toml:"log_format"`
	LogLevel  string        `toml:"log_level"`
	FRR       observedTable `toml:"frr"`
	Report    reportTable   `toml:"report"`
}

// observedTable is the FRR that is asked.
type observedTable struct {
	SocketDir strictconf.Path `toml:"socket_dir"`
	Protocols []string        `toml:"protocols"`
}

// Sources of what an observer says.
const (
	sourceKernel = "kernel"
	sourceFRR    = "frr"
)

// SetDefaults fills what the file may leave out.
func (c *observerConfig) SetDefaults() {
	c.FRR.SocketDir = igp.DefaultSocket
	c.Report.Interval = strictconf.Duration(time.Minute)
}

// Validate checks what spans keys.
func (c *observerConfig) Validate(src *strictconf.Source) error {
	switch {
	case c.Source != sourceKernel && c.Source != sourceFRR:
		return src.Errorf("source", "%q: want kernel or frr", c.Source)
	case c.Source == sourceKernel && len(c.FRR.Protocols) > 0:
		return src.Errorf("frr.protocols", "is of no use where the kernel is asked")
	case c.Report.Target == "":
		return src.Errorf("report", "target is missing: nobody would ask this observer")
	}
	if _, err := c.FRR.sought(); err != nil {
		return src.Errorf("frr.protocols", "%v", err)
	}
	return c.Report.check(src)
}

func (t *observedTable) sought() (igp.Sought, error) {
	var s igp.Sought
	for _, word := range t.Protocols {
		p, err := igp.ParseProtocol(word)
		if err != nil {
			return s, err
		}
		s.Protocols = append(s.Protocols, p)
	}
	return s, nil
}

// runObserver is the command "observe": with an address it says whether the host
// route is there, and ends.
func runObserver(ctx context.Context, path string, check bool, args []string, stdout, stderr io.Writer) error {
	cfg, err := strictconf.Load[observerConfig](path)
	if err != nil {
		return err
	}
	if check {
		_, err := fmt.Fprintf(stdout, "%s: good: %s observes %s\n", path, cfg.Report.Name, cfg.Source)
		return err
	}
	o, err := openObserver(&cfg, stderr)
	if err != nil {
		return err
	}
	defer o.close()
	if len(args) > 0 {
		return o.say(ctx, args[0], stdout)
	}
	return o.run(ctx)
}

// observer holds what runObserver needs open.
type observer struct {
	cfg    *observerConfig
	log    *slog.Logger
	kernel prover.Kernel // or FRR
	tasks  []task.Task   // that keep it up to date
	close  func()
}

func openObserver(cfg *observerConfig, stderr io.Writer) (*observer, error) {
	log, err := admin.Logger(stderr, cfg.LogFormat, cfg.LogLevel)
	if err != nil {
		return nil, err
	}
	o := &observer{cfg: cfg, log: log}
	if cfg.Source == sourceFRR {
		sought, err := cfg.FRR.sought()
		if err != nil {
			return nil, err
		}
		z := igp.NewZebra(cfg.FRR.SocketDir.String())
		o.kernel, o.close = zebra{z, sought}, z.Close
		return o, nil
	}
	lookup, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	j := fib.NewJournal()
	o.kernel, o.tasks, o.close = kernel{j, lookup}, []task.Task{j}, lookup.Close
	return o, nil
}

// zebra is the prover's view of an FRR.
type zebra struct {
	shell  *igp.Zebra
	sought igp.Sought
}

// Await waits until zebra has a route of the address that counts, or has none.
func (z zebra) Await(ctx context.Context, a netip.Addr, installed bool) error {
	return igp.Await(ctx, z.shell, netip.PrefixFrom(a, a.BitLen()), z.sought, installed)
}

// glance is how long an answer that needs no waiting may take.
const glance = 3 * time.Second

// has asks once.
func (o *observer) has(ctx context.Context, a netip.Addr) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, glance)
	defer cancel()
	if z, ok := o.kernel.(zebra); ok {
		routes, err := igp.Routes(ctx, z.shell, netip.PrefixFrom(a, a.BitLen()))
		return z.sought.In(routes), err
	}
	return o.kernel.(kernel).has(a)
}

// say answers for people.
func (o *observer) say(ctx context.Context, text string, stdout io.Writer) error {
	a, err := netip.ParseAddr(text)
	if err != nil {
		return fmt.Errorf("observe %s: want an address", text)
	}
	there, err := o.has(ctx, a.Unmap())
	if err != nil {
		return err
	}
	word := "absent"
	if there {
		word = "installed"
	}
	_, err = fmt.Fprintf(stdout, "%s: %s\n", a, word)
	return err
}

// anywhere is an address that no router has a host route of: asked for to see
// whether there is an answer (RFC 6666, the discard prefix).
var anywhere = netip.MustParseAddr("100::1")

func (o *observer) healthy(ctx context.Context) error {
	_, err := o.has(ctx, anywhere)
	return err
}

func (o *observer) run(ctx context.Context) error {
	client, err := o.cfg.Report.open()
	if err != nil {
		return err
	}
	defer client.Close()
	probes, err := probe.Open()
	if err != nil {
		return err
	}
	defer probes.Close()
	tasks := append([]task.Task{task.Signals(nil)}, o.tasks...)
	tasks = append(tasks, o.prover(client, probes), task.Watchdog(func(context.Context) error { return nil }))
	if o.cfg.Metrics != "" {
		registry := prometheus.NewRegistry()
		registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
		tasks = append(tasks, admin.TCP(o.cfg.Metrics, nil, admin.Health(registry, o.healthy)))
	}
	if err := o.healthy(ctx); err != nil {
		o.log.Warn("cannot be asked yet", "source", o.cfg.Source, "err", err)
	}
	o.log.Info("dpmip-router observes", "version", buildinfo.Version(), "name", o.cfg.Report.Name, "source", o.cfg.Source)
	return task.Group{Tasks: tasks, OnReady: func() {
		if err := task.Notify("READY=1"); err != nil {
			o.log.Warn("telling systemd", "err", err)
		}
	}}.Run(ctx)
}

func (o *observer) prover(client *mgmtclient.Client, probes *probe.Socket) *prover.Prover {
	return prover.New(prover.Config{Node: o.cfg.Report.Name, Management: client, Sender: probes, Kernel: o.kernel, Log: o.log})
}
