package dnsupdate

import (
	"cmp"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"github.com/dpmip/dpmip/mobility"
)

// maxRaces is how often an unmet prerequisite is answered by reading again at
// once; after that it backs off like any failure.
const maxRaces = 8

// Timing of the attempts. Zero values mean the defaults.
type Timing struct {
	First time.Duration // first back-off, 100 ms; doubles, +-10 %
	Max   time.Duration // longest back-off, 30 s
	Proof time.Duration // length of one round of proofs, 10 s
	// ProofLimit, 5 min, is how long after publication servers are asked; then
	// the zone ends unproved.
	ProofLimit time.Duration
}

func (t Timing) withDefaults() Timing {
	t.First = cmp.Or(t.First, 100*time.Millisecond)
	t.Max = cmp.Or(t.Max, 30*time.Second)
	t.Proof = cmp.Or(t.Proof, 10*time.Second)
	t.ProofLimit = cmp.Or(t.ProofLimit, 5*time.Minute)
	return t
}

// Machine decides what happens next with every job: read, write, prove, wait or
// end. It is pure: no goroutine, socket or clock. It is not safe for concurrent
// use.
type Machine struct {
	timing Timing
	jobs   map[mobility.VMID]*Job
	turn   uint64
}

// NewMachine has no jobs.
func NewMachine(t Timing) *Machine {
	return &Machine{timing: t.withDefaults(), jobs: map[mobility.VMID]*Job{}}
}

// Submit takes a job over, a new one or one that another node began. There is
// one job a VM: a newer version supersedes it. An error wraps ErrStale if a
// newer one is here already; the same one again changes nothing.
func (m *Machine) Submit(now time.Time, j Job) ([]Effect, error) {
	if len(j.Zones) == 0 {
		return nil, fmt.Errorf("dnsupdate: job of %s has no zone", j.VM)
	}
	var effects []Effect
	if old := m.jobs[j.VM]; old != nil {
		switch c := j.Version.Compare(old.Version); {
		case c < 0:
			return nil, fmt.Errorf("%w: job of %s has %v, %v is under way", ErrStale, j.VM, j.Version, old.Version)
		case c == 0:
			return nil, nil
		}
		effects = append(effects, m.supersede(old))
	}
	j = j.clone()
	m.jobs[j.VM] = &j
	for i := range j.Zones {
		z := &j.Zones[i]
		if z.Phase.Final() {
			continue
		}
		z.Attempts = 0
		effects = append(effects, m.read(&j, z))
	}
	return append(effects, m.report(&j)), nil
}

func (m *Machine) supersede(j *Job) Effect {
	for i := range j.Zones {
		if !j.Zones[i].Phase.Final() {
			j.Zones[i].Phase = PhaseSuperseded
		}
	}
	return m.report(j)
}

// report shows the job; a final one leaves the machine.
func (m *Machine) report(j *Job) Effect {
	if j.Final() && m.jobs[j.VM] == j {
		delete(m.jobs, j.VM)
	}
	return Report{j.clone()}
}

// Jobs are those under way, sorted by VM.
func (m *Machine) Jobs() []Job {
	var list []Job
	for _, j := range m.jobs {
		list = append(list, j.clone())
	}
	slices.SortFunc(list, func(a, b Job) int { return strings.Compare(a.VM.String(), b.VM.String()) })
	return list
}

// Next is when Tick has something to do; ok is false if no zone waits.
func (m *Machine) Next() (next time.Time, ok bool) {
	for _, j := range m.jobs {
		for _, z := range j.Zones {
			if z.Phase == PhaseWaiting && (!ok || z.due.Before(next)) {
				next, ok = z.due, true
			}
		}
	}
	return next, ok
}

// Tick starts the tries that are due and ends the jobs whose time is over.
func (m *Machine) Tick(now time.Time) []Effect {
	var effects []Effect
	for _, j := range m.jobs {
		ended := false
		for i := range j.Zones {
			z := &j.Zones[i]
			switch {
			case z.Phase != PhaseWaiting || now.Before(z.due):
			case !j.GiveUp.IsZero() && !now.Before(j.GiveUp):
				z.giveUp()
				ended = true
			default:
				effects = append(effects, m.read(j, z))
			}
		}
		if ended {
			effects = append(effects, m.report(j))
		}
	}
	return effects
}

func (z *ZoneJob) giveUp() {
	z.Phase = PhaseFailed
	if !z.PublishedAt.IsZero() {
		z.Phase = PhaseUnproved
	}
}

// Step takes the result of an effect.
func (m *Machine) Step(now time.Time, r Result) []Effect {
	t := r.try()
	j := m.jobs[t.VM]
	if j == nil {
		return nil
	}
	i := slices.IndexFunc(j.Zones, func(z ZoneJob) bool { return z.Update.Zone == t.Zone })
	if i < 0 || j.Zones[i].turn != t.Turn {
		return nil
	}
	z := &j.Zones[i]
	switch r := r.(type) {
	case ReadDone:
		return m.wasRead(now, j, z, r.Stored)
	case WriteDone:
		z.Written = true
		return m.published(now, j, z)
	case ProveDone:
		return m.proved(now, j, z, r.Proofs)
	case TryFailed:
		return m.failed(now, j, z, r)
	}
	panic(fmt.Sprintf("dnsupdate: result %T", r))
}

func (m *Machine) try(j *Job, z *ZoneJob, p Phase) Try {
	m.turn++
	z.Phase, z.turn = p, m.turn
	return Try{VM: j.VM, Zone: z.Update.Zone, Turn: m.turn, Server: z.server, Key: z.key}
}

func (m *Machine) read(j *Job, z *ZoneJob) Effect {
	return Read{m.try(j, z, PhaseReading), z.Update}
}

// wasRead decides by the epoch records.
func (m *Machine) wasRead(now time.Time, j *Job, z *ZoneJob, stored Stored) []Effect {
	applied, err := z.Update.Judge(stored)
	switch {
	case errors.Is(err, ErrStale):
		z.Phase, z.Failure = PhaseStale, &Failure{Kind: FailureStale, Zone: z.Update.Zone, Detail: err.Error()}
		return []Effect{m.report(j)}
	case errors.Is(err, ErrForeign):
		return m.wait(now, j, z, Failure{Kind: FailureForeign, Zone: z.Update.Zone, Detail: err.Error()})
	case err != nil:
		return m.wait(now, j, z, Failure{Kind: FailureRecord, Zone: z.Update.Zone, Detail: err.Error()})
	case applied:
		return m.published(now, j, z)
	}
	return []Effect{Write{m.try(j, z, PhaseWriting), z.Update, stored}}
}

// published goes on to prove; the first time it is worth a report.
func (m *Machine) published(now time.Time, j *Job, z *ZoneJob) []Effect {
	z.races, z.badKeys = 0, 0
	effects := []Effect{Prove{m.try(j, z, PhaseProving), z.Update, m.timing.Proof}}
	if z.PublishedAt.IsZero() {
		z.PublishedAt, z.Failure, z.Attempts = now, nil, 0
		effects = append(effects, m.report(j))
	}
	return effects
}

func (m *Machine) proved(now time.Time, j *Job, z *ZoneJob, proofs []Proof) []Effect {
	z.Proofs = proofs
	f := Missing(proofs)
	switch {
	case f == nil:
		z.Phase, z.Failure = PhaseProved, nil
		return []Effect{m.report(j)}
	case now.Sub(z.PublishedAt) >= m.timing.ProofLimit:
		z.Phase, z.Failure = PhaseUnproved, f
		return []Effect{m.report(j)}
	}
	return m.wait(now, j, z, *f)
}

// failed chooses between at once, with another key or server, and later.
func (m *Machine) failed(now time.Time, j *Job, z *ZoneJob, r TryFailed) []Effect {
	switch {
	case r.Failure.Kind == FailurePrerequisite && z.races < maxRaces:
		z.races++
		return []Effect{m.read(j, z)}
	case r.Failure.Kind == FailureKey:
		z.key++
		if z.badKeys++; z.badKeys < r.Keys {
			return []Effect{m.read(j, z)}
		}
		z.badKeys = 0
	case r.Failure.Kind.needsOperator():
	default:
		z.server++
		if r.Servers > 1 && z.server%r.Servers != 0 {
			return []Effect{m.read(j, z)}
		}
	}
	return m.wait(now, j, z, r.Failure)
}

// wait backs off, never past the end of the job.
func (m *Machine) wait(now time.Time, j *Job, z *ZoneJob, f Failure) []Effect {
	z.Attempts++
	z.Failure, z.races = &f, 0
	d := m.timing.Max
	if !f.Kind.needsOperator() {
		d = m.timing.backOff(z.Attempts)
	}
	z.Phase, z.due = PhaseWaiting, now.Add(jitter(d, j.VM, z))
	if !j.GiveUp.IsZero() && z.due.After(j.GiveUp) {
		z.due = j.GiveUp
	}
	return []Effect{m.report(j)}
}

func (t Timing) backOff(attempts int) time.Duration {
	d := t.First
	for ; attempts > 1 && d < t.Max; attempts-- {
		d *= 2
	}
	return min(d, t.Max)
}

// jitter spreads d by +-10 %, the same for the same VM, zone and attempt.
func jitter(d time.Duration, vm mobility.VMID, z *ZoneJob) time.Duration {
	h := fnv.New32a()
	fmt.Fprintf(h, "%s %s %d", vm, z.Update.Zone, z.Attempts)
	return d + d/10*time.Duration(int(h.Sum32()%2001)-1000)/1000
}
