package sim

import "time"

// process is what all nodes have in common: it lives, dies when its fuse has
// burnt down, and comes back after a while.
type process struct {
	w     *World
	name  string
	alive bool
	life  int // counts processes; what an old one asked for is void
	alarm alarm

	fuse int           // effects until it dies; 0 = none
	down time.Duration // and for how long
	hard bool          // and loses what a reboot loses
	boot func(hard bool)
	died func(hard bool)
}

func (p *process) up() bool { return p.alive }

// doom makes the process die after so many effects (0 = at once).
func (p *process) doom(effects int, down time.Duration, hard bool) {
	p.down, p.hard = down, hard
	if effects == 0 {
		p.kill()
		return
	}
	p.fuse = effects
}

// burn is called before each effect and tells whether the process has died.
func (p *process) burn() bool {
	if p.alive && p.fuse > 0 {
		if p.fuse--; p.fuse == 0 {
			p.kill()
		}
	}
	return !p.alive
}

// kill ends the process and plans its successor.
func (p *process) kill() {
	if !p.alive {
		return
	}
	p.w.trace("%s dies (reboot %t), back in %v", p.name, p.hard, p.down)
	hard := p.hard
	p.alive, p.fuse = false, 0
	p.life++
	life := p.life
	p.died(hard)
	p.w.after(p.down, func() {
		if p.life == life && !p.alive {
			p.start(hard)
		}
	})
}

func (p *process) start(hard bool) {
	p.w.trace("%s starts", p.name)
	p.alive = true
	p.life++
	p.alarm = alarm{}
	p.boot(hard)
}

// later calls f unless the process has died by then.
func (p *process) later(d time.Duration, f func()) {
	life := p.life
	p.w.after(d, func() {
		if p.life == life && p.alive {
			f()
		}
	})
}
