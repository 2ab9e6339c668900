package router

import "time"

// Pace spaces out a job that has to follow changes soon but costs more the more
// there is, such as reading the kernel's routes: after an idle time it is done
// at once, in a storm of changes it takes a tenth of the time at most. It is used
// by one goroutine. Create it by NewPace.
type Pace struct {
	timer    *time.Timer
	earliest time.Time
	asked    bool
}

// share is the inverse of the part of the time that the job may take.
const share = 10

// NewPace returns a Pace that is not due.
func NewPace() *Pace {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return &Pace{timer: t}
}

// Due fires when the job is to be done.
func (p *Pace) Due() <-chan time.Time { return p.timer.C }

// Ask tells that there is something to do.
func (p *Pace) Ask(now time.Time) {
	if p.asked {
		return
	}
	p.asked = true
	p.timer.Reset(max(0, p.earliest.Sub(now)))
}

// Do does the job.
func (p *Pace) Do(job func()) {
	p.asked = false
	p.timer.Stop()
	began := time.Now()
	job()
	ended := time.Now()
	p.earliest = ended.Add((share - 1) * ended.Sub(began))
}

// Stop ends it.
func (p *Pace) Stop() { p.timer.Stop() }
