package server

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/dpmip/dpmip/dnsupdate"
	"github.com/dpmip/dpmip/mgmt"
	"github.com/dpmip/dpmip/mobility"
)

// Names brings the Core's orders into the DNS: it signs and sends on behalf of
// the hypervisors, which hold no key, and tells the Core what came of it. It is
// a task; give it to Loop.UseNames before both run.
type Names struct {
	loop    *Loop
	updater *dnsupdate.Updater
	log     *slog.Logger

	mu     sync.Mutex // guards what follows
	orders []mgmt.PublishNames
	jobs   []dnsupdate.Job
	wake   chan struct{}

	told    map[mobility.VMID]string    // the failure last told; Run's own
	ordered map[mobility.VMID]time.Time // since when an order is out; Run's own
}

// bySelf is who writes where the management node does.
const bySelf = "management node"

// NewNames makes the task.
func NewNames(l *Loop, c *dnsupdate.Client, zones *dnsupdate.Directory, t dnsupdate.Timing, log *slog.Logger) *Names {
	n := &Names{loop: l, log: log, wake: make(chan struct{}, 1), told: map[mobility.VMID]string{}, ordered: map[mobility.VMID]time.Time{}}
	n.updater = dnsupdate.NewUpdater(c, zones, t, func(j dnsupdate.Job) { n.add(func() { n.jobs = append(n.jobs, j) }) })
	return n
}

func (n *Names) String() string { return "names" }

// UseNames makes the loop give its orders for the DNS to n.
func (l *Loop) UseNames(n *Names) { l.names = n }

// publish hands an order over; it never blocks.
func (l *Loop) publish(e mgmt.PublishNames) {
	if l.names != nil {
		l.names.add(func() { l.names.orders = append(l.names.orders, e) })
	}
}

// add changes a queue and wakes Run.
func (n *Names) add(f func()) {
	n.mu.Lock()
	f()
	n.mu.Unlock()
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

func (n *Names) take() (orders []mgmt.PublishNames, jobs []dnsupdate.Job) {
	n.mu.Lock()
	defer n.mu.Unlock()
	orders, jobs = n.orders, n.jobs
	n.orders, n.jobs = nil, nil
	return orders, jobs
}

// Run works until ctx ends; what is under way then is asked for again at the
// next start.
func (n *Names) Run(ctx context.Context) error {
	ended := make(chan error, 1)
	go func() { ended <- n.updater.Run(ctx) }()
	for {
		select {
		case <-ctx.Done():
			return <-ended
		case <-n.wake:
		}
		orders, jobs := n.take()
		var events []mgmt.Event
		for _, o := range orders {
			if e := n.order(ctx, o); e != nil {
				events = append(events, e)
			}
		}
		for _, j := range jobs {
			if n.worth(j) {
				events = append(events, mgmt.NamesReported{By: bySelf, Job: j})
			}
		}
		n.tell(ctx, events)
	}
}

// order plans and submits; the event says that it cannot be planned.
func (n *Names) order(ctx context.Context, o mgmt.PublishNames) mgmt.Event {
	s := o.Record.State
	n.ordered[s.VM] = o.Record.Ordered
	j, err := n.updater.Plan(s, time.Time{})
	if err != nil {
		return mgmt.NamesImpossible{VM: s.VM, Version: s.Version, Reason: err.Error()}
	}
	if err := n.updater.Submit(ctx, j); err != nil && !errors.Is(err, dnsupdate.ErrStale) && ctx.Err() == nil {
		n.log.Warn("names: not submitted", "vm", s.VM, "err", err)
	}
	return nil
}

// worth reports whether a change of a job is worth a record: its end, and a
// failure that was not told yet.
func (n *Names) worth(j dnsupdate.Job) bool {
	if j.Final() {
		n.ended(j)
		return true
	}
	failure := ""
	for _, z := range j.Zones {
		if z.Failure != nil && !z.Phase.Final() { // what has ended is told at the end
			failure += z.Failure.Error()
		}
	}
	if failure == "" || failure == n.told[j.VM] {
		return false
	}
	n.told[j.VM] = failure
	return true
}

// ended measures what was proved; an order that a newer one took the place of
// goes on as that.
func (n *Names) ended(j dnsupdate.Job) {
	delete(n.told, j.VM)
	if j.Err() == nil {
		n.loop.metrics.named.Observe(time.Since(n.ordered[j.VM]).Seconds())
		delete(n.ordered, j.VM)
	}
}

func (n *Names) tell(ctx context.Context, events []mgmt.Event) {
	if len(events) == 0 {
		return
	}
	_ = n.loop.Do(ctx, func(*mgmt.Core) { // at the end nobody listens: asked for again at the next start
		for _, e := range events {
			n.loop.step(e)
		}
	})
}
