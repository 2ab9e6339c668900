package dnsupdate

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dpmip/dpmip/mobility"
)

// Job is one State on its way into the DNS: a value from which any node that has
// the keys can go on (it is marshalled as JSON, and holds no secret). Give it to
// another Updater after its first one died, or at the same time: the epoch
// records make that harmless.
type Job struct {
	VM      mobility.VMID `json:"vm"`
	Version Version       `json:"version"`
	Zones   []ZoneJob     `json:"zones"`
	// GiveUp ends the attempts; zero: never.
	GiveUp time.Time `json:"give_up,omitzero"`
}

// ZoneJob is the part of one zone: what to write and how far it has come.
type ZoneJob struct {
	Update Update `json:"update"`
	Phase  Phase  `json:"phase"`
	// Attempts counts tries since the last progress.
	Attempts int `json:"attempts"`
	// PublishedAt is when the primary was first known to hold the update; zero:
	// not yet. Written says by whom: this node, or (false) it was found there.
	PublishedAt time.Time `json:"published_at,omitzero"`
	Written     bool      `json:"written"`
	// Failure is the last one; kept after an ending without success.
	Failure *Failure `json:"failure,omitempty"`
	// Proofs of the last round, one a server.
	Proofs []Proof `json:"proofs,omitempty"`

	server, key int       // which of the zone's are in use, modulo their number
	badKeys     int       // keys refused in a row
	races       int       // prerequisites unmet in a row
	due         time.Time // when waiting: until when
	turn        uint64    // of the effect that is out
}

// Phase is how far a ZoneJob has come.
type Phase uint8

// The phases. Those from Proved on are final.
const (
	_               Phase = iota
	PhaseWaiting          // for its first try, or for the next one
	PhaseReading          // the epoch records
	PhaseWriting          // the update is out
	PhaseProving          // published, being looked for at every server
	PhaseProved           // seen at every server
	PhaseUnproved         // published, but not seen everywhere in time: see Proofs
	PhaseStale            // the DNS holds a newer version; nothing was written
	PhaseFailed           // given up; see Failure
	PhaseSuperseded       // a newer job of the VM took its place here
)

var phaseNames = []string{
	"", "waiting", "reading", "writing", "proving",
	"proved", "unproved", "stale", "failed", "superseded",
}

func (p Phase) String() string {
	if p > 0 && int(p) < len(phaseNames) {
		return phaseNames[p]
	}
	return fmt.Sprintf("phase%d", uint8(p))
}

// Final reports whether nothing more will happen.
func (p Phase) Final() bool { return p >= PhaseProved }

// MarshalText gives the form of String.
func (p Phase) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads the form of String.
func (p *Phase) UnmarshalText(b []byte) error {
	i := slices.Index(phaseNames, string(b))
	if i < 1 {
		return fmt.Errorf("dnsupdate: unknown phase %q", b)
	}
	*p = Phase(i)
	return nil
}

// NewJob makes the job of a plan; updates must not be empty and are of one VM
// and Version.
func NewJob(updates []Update, giveUp time.Time) Job {
	j := Job{VM: updates[0].VM, Version: updates[0].Version, GiveUp: giveUp}
	for _, u := range updates {
		j.Zones = append(j.Zones, ZoneJob{Update: u, Phase: PhaseWaiting})
	}
	return j
}

// Final reports whether every zone has ended.
func (j Job) Final() bool {
	return !slices.ContainsFunc(j.Zones, func(z ZoneJob) bool { return !z.Phase.Final() })
}

// Err says how a job ended: nil if every zone is proved, else an error that
// names each zone that is not; it wraps ErrStale where a newer version won, and
// each zone's *Failure.
func (j Job) Err() error {
	var errs []error
	for _, z := range j.Zones {
		if z.Phase == PhaseProved {
			continue
		}
		e := fmt.Errorf("dnsupdate: version %v of %s in zone %s: %s", j.Version, j.VM, z.Update.Zone, z.Phase)
		if z.Failure != nil {
			e = fmt.Errorf("%w: %w", e, z.Failure)
		}
		errs = append(errs, e)
	}
	return errors.Join(errs...)
}

// clone copies the job deep enough that its owner may go on changing it.
func (j Job) clone() Job {
	j.Zones = slices.Clone(j.Zones)
	return j
}
