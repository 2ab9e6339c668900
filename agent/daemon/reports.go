package daemon

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"connectrpc.com/connect"

	dpmipv1 "github.com/dpmip/dpmip/api/dpmip/v1"

	"github.com/dpmip/dpmip/agent"
	"github.com/dpmip/dpmip/mobility"
)

// Reporter gives the management node what was counted for a move; *mgmtclient.
// Client implements it.
type Reporter interface {
	ReportMove(ctx context.Context, vm mobility.VMID, epoch mobility.Epoch, r *dpmipv1.HolderReport) error
	ReportTraffic(ctx context.Context, r *dpmipv1.ReportTrafficRequest) error
}

// Bounds of reporting.
const (
	reportTimeout = 2 * time.Second
	reportRetry   = 5 * time.Second
	maxReports    = 4096 // that wait; the oldest moves' figures are lost first
	maxTraffic    = 64   // likewise; what is lost is only not known
)

type reportKey struct {
	vm    mobility.VMID
	epoch mobility.Epoch
}

// Reports sends reports, the newest of each move, until one is taken. They are
// figures only: nothing waits for them.
type Reports struct {
	to   Reporter
	self string // own name, as the inventory has it
	log  *slog.Logger
	wake chan struct{}

	mu      sync.Mutex // guards what follows
	traffic []agent.Traffic
	box     map[reportKey]agent.Report
	order   []reportKey
}

// NewReports makes the task that reports to the management node.
func NewReports(to Reporter, self string, log *slog.Logger) *Reports {
	return &Reports{to: to, self: self, log: log, wake: make(chan struct{}, 1), box: make(map[reportKey]agent.Report)}
}

func (r *Reports) String() string { return "reports" }

// add replaces what waits of the same move; it never blocks.
func (r *Reports) add(e agent.Report) {
	k := reportKey{e.VM, e.Epoch}
	r.mu.Lock()
	if _, waits := r.box[k]; !waits {
		r.order = append(r.order, k)
	}
	r.box[k] = e
	if len(r.order) > maxReports {
		delete(r.box, r.order[0])
		r.order = r.order[1:]
	}
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// addTraffic never blocks either.
func (r *Reports) addTraffic(e agent.Traffic) {
	r.mu.Lock()
	if r.traffic = append(r.traffic, e); len(r.traffic) > maxTraffic {
		r.traffic = r.traffic[1:]
	}
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// tellTraffic sends the samples that wait, each once: the next ones are better
// than old ones.
func (r *Reports) tellTraffic(ctx context.Context) {
	r.mu.Lock()
	list := r.traffic
	r.traffic = nil
	r.mu.Unlock()
	for _, e := range list {
		if err := r.report(ctx, func(ctx context.Context) error { return r.to.ReportTraffic(ctx, trafficReport(r.self, e)) }); err != nil {
			if ctx.Err() == nil {
				r.log.Debug("traffic not taken", "err", err)
			}
			return
		}
	}
}

func trafficReport(self string, e agent.Traffic) *dpmipv1.ReportTrafficRequest {
	out := &dpmipv1.ReportTrafficRequest{Hypervisor: self}
	for _, s := range e.Samples {
		out.Samples = append(out.Samples, &dpmipv1.TrafficSample{Vm: s.VM.String(), Address: s.Addr.String(), Packets: s.Packets, OverNs: s.Over.Nanoseconds()})
	}
	return out
}

func (r *Reports) take() (agent.Report, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.order) == 0 {
		return agent.Report{}, false
	}
	k := r.order[0]
	e := r.box[k]
	r.order = r.order[1:]
	delete(r.box, k)
	return e, true
}

// back puts a report again that was not taken, unless a newer one waits.
func (r *Reports) back(e agent.Report) {
	k := reportKey{e.VM, e.Epoch}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, newer := r.box[k]; !newer {
		r.box[k] = e
		r.order = append([]reportKey{k}, r.order...)
	}
}

// Run reports until ctx ends.
func (r *Reports) Run(ctx context.Context) error {
	retry := time.NewTimer(reportRetry)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.wake:
		case <-retry.C:
		}
		r.tellTraffic(ctx)
		for e, ok := r.take(); ok; e, ok = r.take() {
			if err := r.report(ctx, func(ctx context.Context) error { return r.reportMove(ctx, e) }); err != nil {
				if ctx.Err() == nil {
					r.log.Debug("report not taken", "vm", e.VM.String(), "epoch", uint32(e.Epoch), "err", err)
				}
				if !transient(err) {
					continue
				}
				r.back(e)
				break
			}
		}
		retry.Reset(reportRetry)
	}
}

// transient reports whether trying again can help: a move that the management
// node does not know will not become known.
func transient(err error) bool {
	switch connect.CodeOf(err) {
	case connect.CodeUnavailable, connect.CodeDeadlineExceeded, connect.CodeResourceExhausted, connect.CodeCanceled:
		return true
	}
	return false
}

func (r *Reports) report(ctx context.Context, send func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	return send(ctx)
}

func (r *Reports) reportMove(ctx context.Context, e agent.Report) error {
	h := holderReport(e.Figures)
	h.Hypervisor = r.self
	return r.to.ReportMove(ctx, e.VM, e.Epoch, h)
}

func holderReport(f agent.Figures) *dpmipv1.HolderReport {
	return &dpmipv1.HolderReport{
		Role: f.Role, Placement: f.Placement.String(), RedirectedPackets: f.RedirectedPackets, RedirectedBytes: f.RedirectedBytes,
		ArmedNs: unixNano(f.Armed), FirstHitNs: unixNano(f.FirstHit), DrainedNs: unixNano(f.Drained),
		HeldPackets: f.Held, HoldDrops: f.HoldDrops, MaxHoldNs: f.MaxHold.Nanoseconds(), Flows: f.Flows, ArmTookNs: f.ArmTook.Nanoseconds(),
	}
}

func unixNano(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}
