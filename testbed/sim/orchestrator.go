package sim

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/dpmip/dpmip/agent"
	"github.com/dpmip/dpmip/hwabstraction/haltest"
	"github.com/dpmip/dpmip/mgmt"
	"github.com/dpmip/dpmip/mobility"
)

// patience is how often an orchestrator asks again.
const patience = 200 * time.Millisecond

// stopAt says where an orchestrator changes its mind.
type stopAt uint8

const (
	stopNever    stopAt = iota
	stopReady           // it never releases the VM: the time-out ends the move
	stopSwitched        // it brings the VM back after the pause, and aborts
)

// mover is the orchestrator of one move: it asks for it, releases the VM when
// it is ready, switches its port and activates it; or brings it back.
type mover struct {
	w     *World
	g     *guest
	from  string
	to    string
	opts  mobility.MoveOptions
	pause time.Duration
	stop  stopAt
	lost  bool // without the source
	epoch mobility.Epoch
	freed mobility.Epoch // the move that the source has released the VM for
	tries int
}

func (j *mover) String() string { return fmt.Sprintf("%s: %s -> %s", j.g.id, j.from, j.to) }

// again tries a step once more, unless the job is over.
func (j *mover) again(f func()) {
	j.w.after(patience, func() {
		if j.g.job == j {
			f()
		}
	})
}

func (j *mover) over(why string) {
	j.w.trace("orchestrator: %s: over: %s", j, why)
	if j.g.job == j {
		j.g.job = nil
	}
}

// prepare asks the management node.
func (j *mover) prepare() {
	if j.w.now.Before(j.w.patient) {
		j.again(j.prepare)
		return
	}
	ask := func(id mgmt.CommandID) mgmt.Event {
		if j.lost {
			return mgmt.SourceLost{ID: id, VM: j.g.id, To: j.to, FencedBy: "the simulator"}
		}
		return mgmt.Prepare{ID: id, VM: j.g.id, To: j.to, Options: j.opts}
	}
	j.w.mgmt.command(ask, func(d mgmt.Done, ok bool) {
		switch j.tries++; {
		case ok && d.Err == nil:
			j.epoch = d.Move.Epoch
			if j.lost {
				j.g.endanger("its source is lost", j.epoch)
			}
			if d.Move.Options.Mode == mobility.ModeCold { // also one that was open already
				j.orphan()
			}
			j.await()
		case ok && !j.lost && !j.w.forgot:
			j.over(d.Err.Error())
		case j.tries > 300:
			j.giveUp()
		default:
			j.w.trace("orchestrator: %s: asked in vain: %v", j, d.Err)
			j.again(j.prepare)
		}
	})
}

// orphan notes that the homes of the guest's addresses will not redirect them.
func (j *mover) orphan() {
	for _, a := range j.g.addrs {
		j.g.orphaned[a] = true
	}
}

// giveUp ends a job that nothing comes of; a VM whose source is lost is dead.
func (j *mover) giveUp() {
	if !j.lost {
		j.over("the management node does not answer")
		return
	}
	j.g.attached, j.g.addrs, j.g.olds = false, nil, nil
	j.g.job = nil
	j.w.detachAt(j.g, j.from)
}

// move is the newest one known to the orchestrator, or nil.
func (j *mover) move() *mgmt.Move {
	var m *mgmt.Move
	for e, x := range j.w.mgmt.moves[j.g.id] {
		if e >= j.epoch && x.To == j.to && (m == nil || e > m.Epoch) {
			m = x
		}
	}
	return m
}

// await waits until the move is ready.
func (j *mover) await() {
	m := j.move()
	switch {
	case m == nil && j.w.forgot && j.w.mgmt.alive:
		j.stop, j.epoch = stopNever, 0
		j.prepare()
	case m == nil || !j.w.mgmt.alive || m.State == mgmt.MovePreparing || m.State == mgmt.MoveAborting:
		if j.tries++; j.tries > 2000 {
			j.w.violate("%s: the move neither gets ready nor ends", j)
			return
		}
		j.again(j.await)
	case m.State == mgmt.MoveReady && j.stop == stopReady:
		j.over("it changed its mind")
	case m.State == mgmt.MoveReady && j.lost:
		j.arrive()
	case m.State == mgmt.MoveReady && j.opts.Mode == mobility.ModeCold:
		j.shutDown()
	case m.State == mgmt.MoveReady:
		j.release()
	case m.State == mgmt.MoveAborted && j.lost:
		j.again(j.prepare)
	default:
		j.over("the move is " + m.State.String() + ": " + m.Error)
	}
}

// shutDown ends the VM at the source of a cold move.
func (j *mover) shutDown() {
	j.g.endanger("it is moved cold", j.epoch)
	j.g.excused[j.from] = true
	j.g.where = ""
	j.w.dirty = true
	j.w.after(j.pause, j.arrive)
}

// release tells the source that the VM stops now; only then its port goes.
func (j *mover) release() {
	j.w.hypervisors[j.from].command(func(id agent.CommandID) agent.Event {
		return agent.Release{ID: id, VM: j.g.id}
	}, func(a agent.Answer, ok bool) {
		if j.g.job != j {
			return
		}
		if !ok || a.Err != nil {
			j.w.trace("orchestrator: %s: release: %v %v", j, ok, a.Err)
			j.again(j.await)
			return
		}
		j.g.where, j.freed = "", a.Epoch
		j.w.dirty = true
		j.w.after(j.pause, func() {
			if j.stop == stopSwitched {
				j.back()
				j.w.abort(j.g)
				return
			}
			j.arrive()
		})
	})
}

// arrive puts the VM's port at the destination, unless the move has been aborted
// since the release: another one to there may be ready by now, for which the source
// has released nothing.
func (j *mover) arrive() {
	if m := j.w.mgmt.moves[j.g.id][j.freed]; m != nil && m.State == mgmt.MoveAborted && j.w.mgmt.alive {
		j.back()
		return
	}
	j.g.where = j.to
	j.w.dirty = true
	j.activate()
}

// activate tells the destination that the VM runs there.
func (j *mover) activate() {
	j.w.hypervisors[j.to].command(func(id agent.CommandID) agent.Event {
		return agent.Activate{ID: id, VM: j.g.id}
	}, func(a agent.Answer, ok bool) {
		m := j.move()
		switch {
		case ok && a.Err == nil && a.VM.Active:
			was := j.g.live()
			j.g.addrs, j.g.olds = slices.Clone(a.Addresses), slices.Clone(a.Olds)
			j.g.olds = slices.DeleteFunc(j.g.olds, func(x netip.Addr) bool { return !slices.Contains(was, x) }) // drained at home
			for _, x := range j.g.addrs {
				if ownerOf(x) == j.to {
					delete(j.g.orphaned, x)
				}
			}
			j.w.dirty = true
			j.over("activated")
		case ok && j.w.mgmt.alive && m != nil && (m.State == mgmt.MoveAborted || m.State == mgmt.MoveAborting && m.Abort > mgmt.AbortStop):
			j.back()
		default:
			j.w.trace("orchestrator: %s: activate: %v %v", j, ok, a.Err)
			if j.tries++; j.tries > 3000 {
				j.w.violate("%s: the VM can neither be activated nor go back: %v", j, a.Err)
				return
			}
			j.again(j.activate)
		}
	})
}

// back puts the VM's port back at the source.
func (j *mover) back() {
	if j.lost { // there is no way back
		j.again(j.prepare)
		return
	}
	j.g.where = j.from
	j.w.dirty = true
	j.awaitEnd()
}

// awaitEnd waits until the move that was given up has been taken back. One that
// the management node has forgotten with its store is made anew, and finished:
// nobody else would end the redirect.
func (j *mover) awaitEnd() {
	m := j.move()
	switch {
	case !j.w.mgmt.alive:
		j.again(j.awaitEnd)
	case m == nil && j.w.forgot:
		j.stop, j.epoch = stopNever, 0
		j.prepare()
	case m != nil && m.State.Ended():
		j.over("back at the source")
	default:
		if j.tries++; j.tries > 3000 {
			j.w.violate("%s: it is not taken back", j)
			return
		}
		j.again(j.awaitEnd)
	}
}

// abort asks for the abort of a guest's open move.
func (w *World) abort(g *guest) {
	w.mgmt.command(func(id mgmt.CommandID) mgmt.Event { return mgmt.Abort{ID: id, VM: g.id} }, func(d mgmt.Done, ok bool) {
		w.trace("orchestrator: abort of %s: %v %v", g.id, ok, d.Err)
	})
}

// simple is a job without states.
type simple string

func (s simple) String() string { return string(s) }

// attach brings a guest up at home.
func (w *World) attach(g *guest) {
	if g.job != nil || g.attached || g.where != "" {
		return
	}
	g.job = simple("attach " + g.id.String())
	g.where = g.home
	w.tryAttach(g)
}

func (w *World) tryAttach(g *guest) {
	if g.gone && w.busy(g) {
		w.after(time.Second, func() { w.tryAttach(g) })
		return
	}
	w.hypervisors[g.home].command(func(id agent.CommandID) agent.Event {
		return agent.Attach{ID: id, VM: g.id, MAC: g.mac, Addresses: g.first, Wait: 5 * time.Second}
	}, func(a agent.Answer, ok bool) {
		if !ok || a.Err != nil || !w.served(g) {
			w.trace("orchestrator: attach of %s: %v %v", g.id, ok, a.Err)
			w.after(time.Second, func() { w.tryAttach(g) })
			return
		}
		g.job, g.attached, g.addrs = nil, true, g.first
		w.dirty = true
	})
}

// busy tells whether a guest that was detached still moves or runs elsewhere, as
// far as the management node has been told: it is not to be started before.
func (w *World) busy(g *guest) bool {
	b := w.binding(g)
	return w.mgmt.core == nil || b != nil && (b.Open != 0 || b.Hypervisor != "" && b.Hypervisor != g.home && b.Grace.IsZero())
}

// served tells whether a guest that was attached at home is served there: the
// management node says so, and the card delivers.
func (w *World) served(g *guest) bool {
	for _, a := range g.first {
		if w.hypervisors[g.home].device.Decide(a).Act != haltest.ActDeliver {
			return false
		}
	}
	b := w.binding(g)
	return b != nil && b.Hypervisor == g.home && b.Grace.IsZero()
}

// detach ends a guest where it is.
func (w *World) detach(g *guest) {
	if g.job != nil || !g.attached || g.where == "" {
		return
	}
	at := g.where
	g.attached, g.addrs, g.olds = false, nil, nil
	w.detachAt(g, at)
}

func (w *World) detachAt(g *guest, at string) {
	g.job = simple("detach " + g.id.String())
	g.gone = true
	w.hypervisors[at].command(func(id agent.CommandID) agent.Event {
		return agent.Detach{ID: id, VM: g.id, Wait: 2 * time.Second}
	}, func(a agent.Answer, ok bool) {
		if !ok || a.Err != nil {
			w.trace("orchestrator: detach of %s: %v %v", g.id, ok, a.Err)
			if notThere(a.Err) {
				g.job, g.where = nil, ""
				return
			}
			w.after(time.Second, func() { w.detachAt(g, at) })
			return
		}
		g.job, g.where = nil, ""
		w.dirty = true
	})
}
