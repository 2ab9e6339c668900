package main

import (
	"context"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/internal/buildinfo"
	"github.com/dpmip/dpmip/internal/strictconf"
	"github.com/dpmip/dpmip/mgmtclient"
	"github.com/dpmip/dpmip/router"
)

// reportTable is [report]: where this router tells what it holds; no target =
// nowhere.
type reportTable struct {
	Name     string              `toml:"name"`
	Target   string              `toml:"target"`
	CA       strictconf.Path     `toml:"ca"`
	Cert     strictconf.Path     `toml:"cert"`
	Key      strictconf.Path     `toml:"key"`
	Interval strictconf.Duration `toml:"interval"`
}

func (r *reportTable) check(src *strictconf.Source) error {
	switch {
	case r.Target == "" && (r.Name != "" || r.CA != "" || r.Cert != "" || r.Key != ""):
		return src.Errorf("report", "is of no use without target")
	case r.Target == "":
		return nil
	case r.Name == "":
		return src.Errorf("report", "name is missing: what the inventory calls this router")
	case r.Interval.D() < time.Second:
		return src.Errorf("report.interval", "%v: want at least 1s", r.Interval.D())
	}
	c, err := r.open()
	if err != nil {
		return src.Errorf("report", "%v", err)
	}
	return c.Close()
}

func (r *reportTable) open() (*mgmtclient.Client, error) {
	return mgmtclient.Open(mgmtclient.Target{
		Address: r.Target, TLS: mgmtclient.TLSFiles{CA: r.CA.String(), Cert: r.Cert.String(), Key: r.Key.String()},
	})
}

// How often a router looks whether there is something to report, and how long a
// report may take.
const (
	reportLook  = time.Second
	reportLimit = 5 * time.Second
)

// reporter reports when something has changed, and every interval. It is a
// task.Task; nothing waits for it.
type reporter struct {
	d      *daemon
	client *mgmtclient.Client

	last     *v1.RouterReport // what the management node has, without routes; nil = nothing
	routes   toldRoutes       // likewise
	sent     time.Time
	contacts uint64      // when it was sent
	igp      []*v1.Check // looked at once an interval
	looked   time.Time
	troubled bool // a failure is news once
}

func newReporter(d *daemon) (*reporter, error) {
	c, err := d.cfg.Report.open()
	if err != nil {
		return nil, err
	}
	return &reporter{d: d, client: c, routes: toldRoutes{metrics: d.cfg.metrics()}}, nil
}

func (r *reporter) String() string { return "reports" }

// Run reports until ctx ends.
func (r *reporter) Run(ctx context.Context) error {
	look := time.NewTicker(reportLook)
	defer look.Stop()
	for {
		if err := r.report(ctx); err != nil && ctx.Err() == nil {
			r.last = nil // nobody knows what has arrived: all of it again
			if !r.troubled {
				r.d.log.Warn("the management node does not take this router's report", "target", r.d.cfg.Report.Target, "err", err)
			}
			r.troubled = true
		}
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
	}
}

// report sends what is new, if anything is.
func (r *reporter) report(ctx context.Context) error {
	now, use, err := r.read(ctx)
	if err != nil {
		return err
	}
	if use.Contacts != r.contacts {
		r.last = nil // the management node may have restarted: reports are not durable
	}
	if r.last != nil && time.Since(r.sent) < r.d.cfg.Report.Interval.D() && use.Version == r.routes.version && proto.Equal(now, r.last) {
		return nil
	}
	held, err := r.d.server.Routes(ctx)
	if err != nil {
		return err
	}
	changes, told := r.routes.changes(held, use.Version, r.last == nil)
	full := proto.CloneOf(now)
	full.Routes = changes
	limited, cancel := context.WithTimeout(ctx, reportLimit)
	defer cancel()
	if err := r.client.ReportRouter(limited, full); err != nil {
		return err
	}
	r.last, r.routes, r.sent, r.contacts, r.troubled = now, told, time.Now(), use.Contacts, false
	return nil
}

// read asks the daemon as dpmipctl would.
func (r *reporter) read(ctx context.Context) (*v1.RouterReport, router.Use, error) {
	now, err := r.d.server.Use(ctx)
	if err != nil {
		return nil, now, err
	}
	s := &service{r.d}
	use, err := s.GetUse(ctx, connect.NewRequest(&v1.GetUseRequest{}))
	if err != nil {
		return nil, now, fmt.Errorf("use: %w", err)
	}
	if time.Since(r.looked) >= r.d.cfg.Report.Interval.D() {
		r.igp, r.looked = s.frrChecks(ctx), time.Now()
	}
	out := &v1.RouterReport{Router: r.d.cfg.Report.Name, Version: buildinfo.Version(), Use: use.Msg, Igp: r.igp}
	if r.d.border == nil {
		return out, now, nil
	}
	sessions, err := s.ListSessions(ctx, connect.NewRequest(&v1.ListSessionsRequest{}))
	if err != nil {
		return nil, now, fmt.Errorf("sessions: %w", err)
	}
	out.Sessions = sessions.Msg.Sessions
	return out, now, nil
}

func (r *reporter) close() {
	// Nothing of it can fail: idle connections are dropped.
	_ = r.client.Close()
}
