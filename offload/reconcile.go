package offload

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/dpmip/dpmip/hwabstraction"
)

// State is how far a rule is from where it should be.
type State uint8

// States of a rule. The zero State is invalid.
const (
	StateInvalid   State = iota
	StatePending         // desired, not yet tried
	StateApplied         // the device holds it
	StateFailed          // tried, and tried again at Next
	StateRefused         // the device cannot have it (ErrNotSupported, ErrInvalidRule); not tried again
	StateOvertaken       // a newer epoch has its place; not tried again while that is so
	StateRemoving        // no longer desired, still there
	StateRemoved         // gone; told once
)

var stateNames = [...]string{"invalid", "pending", "applied", "failed", "refused", "overtaken", "removing", "removed"}

func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// Status is the state of one rule.
type Status struct {
	Rule      hwabstraction.Rule
	State     State
	Placement hwabstraction.Placement // StateApplied: where the device says it sits
	Err       error                   // of the last try; nil where it succeeded
	Tries     int                     // in vain, since the last success
	Next      time.Time               // StateFailed, StateRemoving: not tried before; zero = at the next Sync
}

// ReconcilerConfig is what a Reconciler needs. Only Device is mandatory.
type ReconcilerConfig struct {
	Device     hwabstraction.Device
	Batch      int           // changes per Apply; 0 = 4096
	BackoffMin time.Duration // after the first failure; 0 = 50 ms
	BackoffMax time.Duration // 0 = 30 s
	Resync     time.Duration // between two full resynchronisations; 0 = 30 s
	Now        func() time.Time
	Random     func() float64 // jitter, in [0, 1); nil = math/rand
}

// Reconciler brings a Device to hold the desired rules and keeps it so. It has
// no goroutine: its owner calls Sync after a change and when Next is due. It is
// not safe for concurrent use.
type Reconciler struct {
	c       ReconcilerConfig
	claims  Claims
	desired map[[16]byte][]hwabstraction.Rule // in the caller's order
	wanted  map[hwabstraction.RuleID]hwabstraction.Rule
	actual  Actual                                           // as far as is known: from results and the last resynchronisation
	held    map[[16]byte]map[hwabstraction.RuleID]bool       // actual, by owner
	placed  map[hwabstraction.RuleID]hwabstraction.Placement // of actual
	status  map[hwabstraction.RuleID]*Status
	dirty   map[[16]byte]bool // owners whose rules are to be compared
	waiting map[hwabstraction.RuleID]*Status
	keep    map[hwabstraction.Stamp]Switch
	loose   map[hwabstraction.Stamp]bool  // groups to be switched again
	told    map[hwabstraction.RuleID]bool // statuses changed since the last Sync
	resync  time.Time                     // when the next full resynchronisation is due
	fails   int                           // of resynchronisation, in a row
}

// Switch is how a group should be switched.
type Switch struct{ Armed, Active bool }

// NewReconciler returns a Reconciler that desires nothing and claims nothing.
// Its first Sync reads the device, unless Adopt has.
func NewReconciler(c ReconcilerConfig) *Reconciler {
	c.Batch = cmp.Or(c.Batch, 4096)
	c.BackoffMin = cmp.Or(c.BackoffMin, 50*time.Millisecond)
	c.BackoffMax = cmp.Or(c.BackoffMax, 30*time.Second)
	c.Resync = cmp.Or(c.Resync, 30*time.Second)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Random == nil {
		c.Random = rand.Float64
	}
	return &Reconciler{
		c: c, claims: Claims{}, desired: map[[16]byte][]hwabstraction.Rule{},
		wanted: map[hwabstraction.RuleID]hwabstraction.Rule{}, actual: Actual{},
		held:   map[[16]byte]map[hwabstraction.RuleID]bool{},
		placed: map[hwabstraction.RuleID]hwabstraction.Placement{},
		status: map[hwabstraction.RuleID]*Status{}, dirty: map[[16]byte]bool{},
		waiting: map[hwabstraction.RuleID]*Status{}, keep: map[hwabstraction.Stamp]Switch{},
		loose: map[hwabstraction.Stamp]bool{}, told: map[hwabstraction.RuleID]bool{}, resync: c.Now(),
	}
}

// Adopt reads the device and returns what it holds, so that a new process
// starts from what the old one has left. Nothing is changed, and nothing that
// was found is removed before SetDesired claims its owner. It is a full
// resynchronisation: the next one is due a whole interval later.
func (r *Reconciler) Adopt(ctx context.Context) ([]hwabstraction.RuleStatus, error) {
	rules, err := r.c.Device.Rules(ctx)
	if err != nil {
		return nil, fmt.Errorf("offload: adopt: %w", err)
	}
	r.read(rules)
	return rules, nil
}

// SetDesired says what the owner of upTo shall hold: exactly these rules. It
// claims what the owner has at or below upTo's epoch: of that, what is not
// among the rules is removed by the next Sync; what is newer stays. The rules
// must carry that owner and no later epoch. A call with a lower epoch than an
// earlier one fails with ErrStale; one that names an ID which another owner
// desires takes it over. No rules and nothing left ends the owner.
func (r *Reconciler) SetDesired(upTo hwabstraction.Stamp, rules []hwabstraction.Rule) error {
	owner := upTo.Owner
	if had, ok := r.claims[owner]; ok && upTo.Epoch < had {
		return fmt.Errorf("offload: desire %s, claimed up to epoch %d: %w", upTo, had, hwabstraction.ErrStale)
	}
	for _, x := range rules {
		if s := x.Stamped(); s.Owner != owner || s.Epoch > upTo.Epoch {
			return fmt.Errorf("offload: desire %s: rule %s has the stamp %s", upTo, x.ID(), s)
		}
	}
	r.claims[owner] = upTo.Epoch
	before := r.desired[owner]
	for _, x := range before {
		r.unwant(x)
	}
	r.desired[owner] = slices.Clone(rules)
	for _, x := range rules {
		r.want(x)
	}
	for _, x := range before {
		if a := r.actual[x.ID()]; a == nil || a.Stamped().Owner != owner {
			r.removed(x.ID())
		}
	}
	r.dirty[owner] = true
	return nil
}

// unwant forgets a desired rule; what the device holds of it, compare removes.
func (r *Reconciler) unwant(x hwabstraction.Rule) {
	id := x.ID()
	if w := r.wanted[id]; w == nil || w.Stamped().Owner != x.Stamped().Owner {
		return
	}
	delete(r.wanted, id)
}

func (r *Reconciler) want(x hwabstraction.Rule) {
	id := x.ID()
	if w := r.wanted[id]; w != nil && w.Stamped().Owner != x.Stamped().Owner {
		o := w.Stamped().Owner
		r.desired[o] = slices.DeleteFunc(r.desired[o], func(y hwabstraction.Rule) bool { return y.ID() == id })
		r.dirty[o] = true
	}
	r.wanted[id] = x
	if st := r.status[id]; st == nil || st.Rule != x || st.State == StateRemoving {
		r.note(id, &Status{Rule: x, State: StatePending})
	}
}

// Keep says how a group shall stay switched: where a resynchronisation finds it
// otherwise, or its rules had to be put again, Sync switches it. Arm, Disarm and
// Activate themselves remain the caller's; it calls Keep before them. The zero
// Switch keeps nothing.
func (r *Reconciler) Keep(s hwabstraction.Stamp, w Switch) {
	if w == (Switch{}) {
		delete(r.keep, s)
		delete(r.loose, s)
		return
	}
	r.keep[s] = w
}

// Doubt makes the next Sync read the device first: what is said after it is
// what the device holds, not what it was told.
func (r *Reconciler) Doubt() { r.resync = time.Time{} }

// Sync makes the changes that are due, all puts before all deletes, and
// resynchronises when it is time. It returns the statuses that have changed
// since the last Sync, ordered by ID. It blocks as long as the device does,
// bounded by ctx; what ctx cut short stays due.
func (r *Reconciler) Sync(ctx context.Context) []Status {
	if !r.c.Now().Before(r.resync) {
		r.readBack(ctx)
	}
	r.work(ctx)
	r.switchGroups()
	var out []Status
	for id := range r.told {
		if st := r.status[id]; st != nil {
			out = append(out, *st)
			if st.State == StateRemoved {
				delete(r.status, id)
			}
		}
	}
	clear(r.told)
	slices.SortFunc(out, func(a, b Status) int { return compareIDs(a.Rule.ID(), b.Rule.ID()) })
	return out
}

// Resync makes the next Sync read the device.
func (r *Reconciler) Resync() { r.resync = r.c.Now() }

// Next is when Sync has something to do: now or in the past if there are
// changes that were not tried yet, at the latest the next resynchronisation.
func (r *Reconciler) Next() time.Time {
	if len(r.dirty) > 0 || len(r.loose) > 0 {
		return r.c.Now()
	}
	next := r.resync
	for _, st := range r.waiting {
		if st.Next.Before(next) {
			next = st.Next
		}
	}
	return next
}

// Status returns the status of one rule, whether desired or being removed.
func (r *Reconciler) Status(id hwabstraction.RuleID) (Status, bool) {
	if st := r.status[id]; st != nil {
		return *st, true
	}
	return Status{}, false
}

// Unsettled lists what is neither applied nor gone, ordered by ID.
func (r *Reconciler) Unsettled() []Status {
	var out []Status
	for _, st := range r.status {
		if st.State != StateApplied && st.State != StateRemoved {
			out = append(out, *st)
		}
	}
	slices.SortFunc(out, func(a, b Status) int { return compareIDs(a.Rule.ID(), b.Rule.ID()) })
	return out
}

// Settled tells whether the device holds every rule of the owner, as far as is
// known, and nothing else that the owner's claim covers.
func (r *Reconciler) Settled(owner [16]byte) bool {
	for _, x := range r.desired[owner] {
		if r.actual[x.ID()] != x {
			return false
		}
	}
	for id := range r.held[owner] {
		if w := r.wanted[id]; w == nil && r.claims.stale(r.actual[id]) {
			return false
		}
	}
	return true
}

// Foreign lists the rules on the device whose owner nobody has claimed, as the
// last reading found them, ordered by ID.
func (r *Reconciler) Foreign() []hwabstraction.Rule {
	var out []hwabstraction.Rule
	for owner, ids := range r.held {
		if _, ours := r.claims[owner]; ours {
			continue
		}
		for id := range ids {
			out = append(out, r.actual[id])
		}
	}
	slices.SortFunc(out, func(a, b hwabstraction.Rule) int { return compareIDs(a.ID(), b.ID()) })
	return out
}

// retryable tells whether trying again can help.
func retryable(err error) bool {
	return !errors.Is(err, hwabstraction.ErrNotSupported) && !errors.Is(err, hwabstraction.ErrInvalidRule)
}
