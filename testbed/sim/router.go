package sim

import (
	"net/netip"
	"time"

	"github.com/dpmip/dpmip/mgmt"
	"github.com/dpmip/dpmip/mobility/registration"
	"github.com/dpmip/dpmip/router"
)

// host is a router with its kernel's host routes and its file of them.
type host struct {
	process
	skew     time.Duration
	core     *router.Core
	kernel   map[netip.Addr]netip.Addr // address -> locator
	file     map[netip.Addr]router.Route
	passed   []router.Passed
	restarts uint32
	proofs   prover
	busy     time.Time // its kernel is told one thing after another: until then
	dark     bool      // it reboots: nothing is forwarded
}

func newHost(w *World, name string, skew time.Duration) *host {
	r := &host{skew: skew, kernel: map[netip.Addr]netip.Addr{}, file: map[netip.Addr]router.Route{}}
	r.process = process{w: w, name: name, boot: r.restart, died: r.crashed}
	r.proofs = prover{owner: &r.process, can: []string{"installed", "absent"}, take: r.look}
	return r
}

func (r *host) local() time.Time { return r.w.now.Add(r.skew) }

// restart runs a new process over the file of routes; those that the kernel has
// lost come back first.
func (r *host) restart(bool) {
	r.restarts++
	core, err := router.NewCore(router.Config{MaxRoutes: r.w.schedule.Room[r.name], Node: registration.Config{
		Self: locator(r.name), Management: []netip.Addr{locator(managementName)},
		FirstRetry: firstRetry, Retry: firstRetry, MaxRetry: maxRetry, Heartbeat: heartbeat,
		RestartCount: r.restarts, Seed: r.w.rng.Uint64(),
	}})
	if err != nil {
		r.w.violate("router %s does not start: %v", r.name, err)
		return
	}
	r.core, r.busy = core, time.Time{}
	var routes []router.Route
	for _, a := range sortedAddrs(r.file) {
		routes = append(routes, r.file[a])
	}
	for _, ch := range core.Restore(routes, r.passed) {
		r.kernel[ch.Address] = ch.Locator
		core.Step(r.local(), router.Moved{Address: ch.Address})
	}
	r.dark, r.w.dirty = false, true
	r.step(router.Start{})
	if r.w.watched {
		r.proofs.connect()
	}
	r.tellRoom()
}

// tellRoom reports the limit, as the daemon does when it finds the management
// node.
func (r *host) tellRoom() {
	if n := r.w.schedule.Room[r.name]; n > 0 && !r.w.schedule.Mute && r.alive {
		r.w.mgmt.step(mgmt.RouterLimit{Router: r.name, Limit: n})
	}
}

// crashed: a dead process leaves the kernel's routes, a reboot does not.
func (r *host) crashed(hard bool) {
	if r.w.watched {
		r.proofs.hungUp()
	}
	if hard {
		r.dark = true
		r.kernel = map[netip.Addr]netip.Addr{}
		r.w.dirty = true
		r.w.hazardAll("router " + r.name + " was rebooted")
	}
}

func (r *host) receive(in registration.Inbound) { r.step(router.Received{Inbound: in}) }
func (r *host) unreachable(to netip.Addr)       { r.step(router.Unreachable{Peer: to}) }

func (r *host) step(e router.Event) {
	if !r.alive {
		return
	}
	for _, e := range r.core.Step(r.local(), e) {
		if r.burn() {
			return
		}
		r.do(e)
	}
	if at, ok := r.core.Next(); ok {
		r.alarm.set(r.w, at.Add(-r.skew), r.life, func() { r.step(router.Tick{}) })
	}
}

func (r *host) do(e router.Effect) {
	switch e := e.(type) {
	case registration.Send:
		r.w.net.send(r.name, e)
	case router.Persist:
		for _, x := range e.Put {
			r.file[x.Address] = x
		}
		for _, a := range e.Forget {
			delete(r.file, a)
		}
		r.passed = []router.Passed{e.Passed} // there is one management node
	case router.Program:
		r.later(r.queue(r.w.between(20*time.Microsecond, 2*time.Millisecond)), func() { r.program(e) })
	}
}

// queue is when something is done that takes d, after all that is under way.
func (r *host) queue(d time.Duration) time.Duration {
	if at := r.w.now.Add(d); at.After(r.busy) {
		r.busy = at
	}
	return r.busy.Sub(r.w.now)
}

func (r *host) program(e router.Program) {
	for _, ch := range e.Changes {
		had, has := r.kernel[ch.Address]
		switch {
		case r.w.sabotage.falseConfirm:
		case !ch.Locator.IsValid(), r.w.sabotage.earlyWithdraw && has && had != ch.Locator:
			delete(r.kernel, ch.Address)
		default:
			r.kernel[ch.Address] = ch.Locator
		}
		r.w.trace("%s: route %s via %s", r.name, ch.Address, ch.Locator)
	}
	r.w.dirty = true
	r.step(router.Programmed{ID: e.ID, Errs: make([]error, len(e.Changes))})
}
