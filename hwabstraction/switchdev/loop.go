package switchdev

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"github.com/dpmip/dpmip/hwabstraction/switchdev/ways"
)

// Polls of the slow path begin at firstPoll and double up to lastPoll. The
// kernel is looked at again at most once in lookEvery, or in ten times what the
// last look took: tables may be large, and change all the time.
const (
	firstPoll = time.Millisecond
	lastPoll  = time.Second
	lookEvery = 200 * time.Millisecond
)

// run is the loop: it plans units that have changed, asks the slow path again
// where it was not ready, follows the kernel, and audits.
func (d *Device) run(ctx context.Context) {
	defer close(d.ended)
	timer := time.NewTimer(0)
	defer timer.Stop()
	audit := time.Now().Add(d.cfg.Audit)
	var lookAt time.Time // when the kernel may be looked at again
	changed := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.cfg.Kernel.Changed():
			changed = true
		case <-d.wake:
		case <-timer.C:
		}
		now := time.Now()
		if changed && !now.Before(lookAt) {
			changed = !d.lookAgain()
			lookAt = now.Add(max(lookEvery, 10*time.Since(now)))
		}
		d.late(changed)
		if !now.Before(audit) {
			d.audit(ctx)
			audit = time.Now().Add(d.cfg.Audit)
		}
		d.work(ctx)
		next := d.next(audit)
		if changed && lookAt.Before(next) {
			next = lookAt
		}
		timer.Reset(time.Until(next))
	}
}

// late notes whether the scene is older than the last change of the kernel.
func (d *Device) late(behind bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.behind = behind
}

// work plans every unit that is due. The lock is let go between two.
func (d *Device) work(ctx context.Context) {
	for ctx.Err() == nil {
		d.mu.Lock()
		u := d.due(time.Now())
		if u == nil {
			close(d.rested)
			d.rested = make(chan struct{})
			d.mu.Unlock()
			return
		}
		d.plan(ctx, u)
		d.mu.Unlock()
	}
}

// Settle returns when filters are as the present rules and switches ask for, ends
// of holds included; a redirect that still waits for its first packet is none of
// its business. It is for whoever measures or tests.
func (d *Device) Settle(ctx context.Context) error {
	asked := false
	for {
		d.mu.Lock()
		if !asked {
			for k := range d.polls {
				d.dirty[k] = true
			}
			asked = true
		}
		calm := d.closed || len(d.dirty) == 0 && !d.behind
		for _, u := range d.units {
			calm = calm && !u.holding
		}
		rested := d.rested
		d.mu.Unlock()
		if calm {
			return nil
		}
		d.rouse()
		select {
		case <-rested:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// due takes a unit whose turn it is.
func (d *Device) due(now time.Time) *unit {
	if d.claims {
		d.except()
	}
	for k := range d.dirty {
		delete(d.dirty, k)
		if u := d.units[k]; u != nil && u.switching == 0 {
			return u
		}
	}
	for k, at := range d.polls {
		if at.After(now) {
			continue
		}
		delete(d.polls, k)
		if u := d.units[k]; u != nil && u.switching == 0 {
			return u
		}
	}
	return nil
}

// plan brings a unit up to date and notes when to look at it again.
func (d *Device) plan(ctx context.Context, u *unit) {
	now := time.Now()
	d.stand(u, now)
	waits := d.reconcile(ctx, u, now)
	if u.rung == 0 {
		u.climbs, u.reason = 0, nil
	}
	switch {
	case d.idle(u):
		d.drop(u)
		return
	case waits:
		d.polls[u.key] = now.Add(min(firstPoll<<min(u.polls, 20), lastPoll))
		u.polls++
	default:
		u.polls = 0
	}
	if at, ok := d.polls[u.key]; d.returns(u) && (!ok || at.After(u.climbAt)) {
		d.polls[u.key] = u.climbAt
	}
}

// next is when the loop has something to do.
func (d *Device) next(audit time.Time) time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.dirty) > 0 {
		return time.Now()
	}
	for _, at := range d.polls {
		if at.Before(audit) {
			audit = at
		}
	}
	return audit
}

// look reads the scene from the kernel, for these VM ports and redirect targets.
// It needs no lock.
func (d *Device) look(ports []string, targets []netip.Addr) scene {
	s := scene{ports: map[string]ways.Port{}, hops: map[netip.Addr]ways.Hop{}, exits: map[bool]ways.Exit{}, untold: true}
	for _, name := range d.cfg.Fabric {
		if p, err := d.cfg.Kernel.Port(name); err == nil {
			s.uplinks = append(s.uplinks, p)
		} else {
			d.cfg.Log.Warn("no uplink", "port", name, "err", err)
		}
	}
	for _, name := range ports {
		if p, err := d.cfg.Kernel.Port(name); err == nil {
			s.ports[name] = p
		}
	}
	for _, ipv4 := range []bool{true, false} {
		exit, err := d.cfg.Kernel.Exit(ipv4)
		if err == nil {
			exit.Except = compact(exit.Except)
			s.exits[ipv4] = exit
		} else if !errors.Is(err, ways.ErrUnclear) {
			d.cfg.Log.Warn("no way out for VMs' ports", "ipv4", ipv4, "err", err)
		}
	}
	for _, a := range targets {
		if hop, err := d.cfg.Kernel.Hop(a); err == nil {
			s.hops[a] = hop
		}
	}
	return s
}

// questions are what look is to ask for. Caller holds mu.
func (d *Device) questions() (ports []string, targets []netip.Addr) {
	return d.vmPorts(), slices.Collect(maps.Keys(d.asked))
}

// behold takes a scene, and plans again whatever was planned for another one.
// What was asked for since look began is asked for again. Caller holds mu.
func (d *Device) behold(s scene, ports []string, targets []netip.Addr) {
	s.except = d.scene.except
	for name, p := range d.scene.ports {
		if !slices.Contains(ports, name) {
			s.ports[name] = p
		}
	}
	for a := range d.asked {
		if _, ok := s.hops[a]; !ok && !slices.Contains(targets, a) {
			delete(d.asked, a)
		}
	}
	d.noteEswitch(&s)
	if reflect.DeepEqual(d.scene, s) {
		return
	}
	d.scene = s
	d.seen++
	for k := range d.units {
		d.dirty[k] = true
	}
}

// vmPorts are the names of the ports that rules name.
func (d *Device) vmPorts() []string {
	seen := map[string]bool{}
	var out []string
	for _, r := range d.model.rules {
		name := portOf(r)
		if name != "" && !seen[name] {
			seen[name] = true
			out = append(out, name)
		}
	}
	return out
}

// lookAgain looks at the kernel. The lock is not held meanwhile: what was seen is
// thrown away where something newer was learned in that time. It reports whether
// it has come to an end.
func (d *Device) lookAgain() bool {
	for range 3 {
		d.mu.Lock()
		ports, targets := d.questions()
		began := d.seen
		d.mu.Unlock()
		s := d.look(ports, targets)
		s.lost, s.untold = d.askEswitch()
		d.mu.Lock()
		newest := began == d.seen
		if newest {
			d.behold(s, ports, targets)
		}
		d.mu.Unlock()
		if newest {
			return true
		}
	}
	return false
}
