package dnsupdate

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Updater carries jobs out: a task that owns a Machine, its clock and the
// exchanges. Its methods are safe for concurrent use and block until Run has
// taken them in.
type Updater struct {
	client *Client
	zones  *Directory
	timing Timing
	report func(Job)

	calls   chan func(*Machine) []Effect
	results chan Result
}

// NewUpdater makes the task. Report is called from Run for every change of a job
// worth keeping, the last time with a final one; it must not block, and may be
// nil. The client's idle connections are closed when Run ends.
func NewUpdater(c *Client, zones *Directory, t Timing, report func(Job)) *Updater {
	if report == nil {
		report = func(Job) {}
	}
	return &Updater{
		client: c, zones: zones, timing: t, report: report,
		calls: make(chan func(*Machine) []Effect), results: make(chan Result),
	}
}

func (u *Updater) String() string { return "DNS updater" }

// Plan makes the job of a state with the zones known here. A name in none of
// them (an address's reverse zone, most often) has failed from the start, and
// keeps nothing else from being written; an error is returned where all have.
func (u *Updater) Plan(s State, giveUp time.Time) (Job, error) {
	zones := u.zones.Names()
	updates, homeless, err := PlanKnown(s, zones)
	switch {
	case err != nil:
		return Job{}, err
	case len(updates) == 0 && len(homeless) > 0:
		return Job{}, noZone(homeless[0], zones)
	case len(updates) == 0:
		return Job{}, errNothing
	}
	j := NewJob(updates, giveUp)
	for _, name := range homeless {
		j.Zones = append(j.Zones, ZoneJob{
			Update: Update{Zone: name, VM: s.VM, Version: s.Version}, Phase: PhaseFailed,
			Failure: &Failure{Kind: FailureConfig, Zone: name, Detail: noZone(name, zones).Error()},
		})
	}
	return j, nil
}

// errNothing says that a state needs no update.
var errNothing = errors.New("dnsupdate: the service list is empty")

// Submit hands a job over; see Machine.Submit for the errors.
func (u *Updater) Submit(ctx context.Context, j Job) error {
	var err error
	if cerr := u.call(ctx, func(m *Machine) (effects []Effect) {
		effects, err = m.Submit(time.Now(), j)
		return effects
	}); cerr != nil {
		return cerr
	}
	return err
}

// Jobs are those under way.
func (u *Updater) Jobs(ctx context.Context) ([]Job, error) {
	var jobs []Job
	err := u.call(ctx, func(m *Machine) []Effect {
		jobs = m.Jobs()
		return nil
	})
	return jobs, err
}

func (u *Updater) call(ctx context.Context, f func(*Machine) []Effect) error {
	done := make(chan struct{})
	g := func(m *Machine) []Effect {
		defer close(done)
		return f(m)
	}
	select {
	case u.calls <- g:
		<-done
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Run works until ctx is done and every exchange has ended. Jobs that are not
// final by then are as last reported; another Updater may have them.
func (u *Updater) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		wg.Wait()
		u.client.Close()
	}()
	m := NewMachine(u.timing)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var effects []Effect
		select {
		case <-ctx.Done():
			return nil
		case f := <-u.calls:
			effects = f(m)
		case r := <-u.results:
			effects = m.Step(time.Now(), r)
		case <-timer.C:
			effects = m.Tick(time.Now())
		}
		for _, e := range effects {
			u.start(ctx, &wg, e)
		}
		if next, ok := m.Next(); ok {
			timer.Reset(time.Until(next))
		} else {
			timer.Stop()
		}
	}
}

// start carries out one effect, a report at once, the others on their own.
func (u *Updater) start(ctx context.Context, wg *sync.WaitGroup, e Effect) {
	if r, ok := e.(Report); ok {
		u.report(r.Job)
		return
	}
	wg.Go(func() {
		r := u.do(ctx, e)
		select {
		case u.results <- r:
		case <-ctx.Done():
		}
	})
}

// do blocks until the effect has its result.
func (u *Updater) do(ctx context.Context, e Effect) Result {
	switch e := e.(type) {
	case Read:
		to, servers, keys, f := u.target(ctx, e.Try)
		var stored Stored
		if f == nil {
			stored, f = u.client.readEpochs(ctx, to, e.Update)
		}
		if f != nil {
			return TryFailed{e.Try, *f, servers, keys}
		}
		return ReadDone{e.Try, stored}
	case Write:
		to, servers, keys, f := u.target(ctx, e.Try)
		if f == nil {
			f = u.client.write(ctx, to, e.Update, e.Stored)
		}
		if f != nil {
			return TryFailed{e.Try, *f, servers, keys}
		}
		return WriteDone{e.Try}
	case Prove:
		return u.prove(ctx, e)
	}
	panic("dnsupdate: unknown effect")
}

// target chooses the server and the key of a try.
func (u *Updater) target(ctx context.Context, t Try) (to target, servers, keys int, f *Failure) {
	z, f := u.zones.Zone(ctx, t.Zone)
	if f != nil {
		return to, 0, 0, f
	}
	k := z.keysOf(t.VM)
	to = target{zone: z.Name, server: z.Servers[t.Server%len(z.Servers)]}
	if len(k) == 0 {
		return to, len(z.Servers), 0, to.fail(FailureConfig, "no key here for %s", t.VM)
	}
	to.key = &k[t.Key%len(k)]
	return to, len(z.Servers), len(k), nil
}

func (u *Updater) prove(ctx context.Context, e Prove) Result {
	z, f := u.zones.Zone(ctx, e.Zone)
	if f != nil {
		return TryFailed{e.Try, *f, 0, 0}
	}
	want, err := e.Update.Wants()
	if err != nil {
		return TryFailed{e.Try, Failure{Kind: FailureConfig, Zone: e.Zone, Detail: err.Error()}, 0, 0}
	}
	ctx, cancel := context.WithTimeout(ctx, e.Timeout)
	defer cancel()
	return ProveDone{e.Try, u.client.Prove(ctx, z.Name, z.Servers[e.Server%len(z.Servers)], z.proofServers(), want)}
}
