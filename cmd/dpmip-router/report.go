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
	reportLimit = 2 * time.Second
)

// reporter reports when something has changed, and every interval. It is a
// task.Task; nothing waits for it.
type reporter struct {
	d      *daemon
	client *mgmtclient.Client
}

func newReporter(d *daemon) (*reporter, error) {
	c, err := d.cfg.Report.open()
	if err != nil {
		return nil, err
	}
	return &reporter{d: d, client: c}, nil
}

func (r *reporter) String() string { return "reports" }

// Run reports until ctx ends.
func (r *reporter) Run(ctx context.Context) error {
	look := time.NewTicker(reportLook)
	defer look.Stop()
	var last *v1.RouterReport // what the management node has
	var sent time.Time
	var contacts uint64 // when it was sent
	tell := true        // a failure is news once
	for {
		now, found, err := r.read(ctx)
		if found != contacts {
			last = nil // it may have restarted: reports are not durable
		}
		if err == nil && (last == nil || time.Since(sent) >= r.d.cfg.Report.Interval.D() || !proto.Equal(now, last)) {
			limited, cancel := context.WithTimeout(ctx, reportLimit)
			err := r.client.ReportRouter(limited, now)
			cancel()
			switch {
			case err == nil:
				last, sent, tell, contacts = now, time.Now(), true, found
			case ctx.Err() == nil && tell:
				r.d.log.Warn("the management node does not take this router's report", "target", r.d.cfg.Report.Target, "err", err)
				last, tell = nil, false
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
	}
}

// read asks the daemon as dpmipctl would; found counts how often the management
// node was.
func (r *reporter) read(ctx context.Context) (out *v1.RouterReport, found uint64, err error) {
	now, err := r.d.server.Use(ctx)
	if err != nil {
		return nil, 0, err
	}
	s := &service{r.d}
	use, err := s.GetUse(ctx, connect.NewRequest(&v1.GetUseRequest{}))
	if err != nil {
		return nil, 0, fmt.Errorf("use: %w", err)
	}
	out = &v1.RouterReport{Router: r.d.cfg.Report.Name, Version: buildinfo.Version(), Use: use.Msg}
	if r.d.border == nil {
		return out, now.Contacts, nil
	}
	sessions, err := s.ListSessions(ctx, connect.NewRequest(&v1.ListSessionsRequest{}))
	if err != nil {
		return nil, 0, fmt.Errorf("sessions: %w", err)
	}
	out.Sessions = sessions.Msg.Sessions
	return out, now.Contacts, nil
}

func (r *reporter) close() {
	// Nothing of it can fail: idle connections are dropped.
	_ = r.client.Close()
}
