package slots

import (
	"errors"
	"io/fs"

	"github.com/dpmip/dpmip/cross/bundle"
)

// Choice is what starts.
type Choice struct {
	Slot     Slot // None = the image's own programs
	Trial    bool
	Manifest bundle.Manifest // zero for None
	// Problems are what was found on the way: slots that cannot run, a state
	// that could not be written.
	Problems []error
}

// Boot chooses what starts now and unpacks it: the slot on trial while it has
// tries left (one is taken, durably, before it is returned), else the active
// one, else the other, else none. It never fails: a card starts with something.
func (s *Store) Boot(to Unpacker) Choice {
	var c Choice
	note := func(err error) {
		if err != nil {
			c.Problems = append(c.Problems, err)
		}
	}
	if s.st.Trial != None {
		if s.try(to, &c, note) {
			return c
		}
	}
	for _, slot := range s.order() {
		if s.refused(slot) {
			continue
		}
		m, err := s.unpack(slot, to)
		if err == nil {
			c.Slot, c.Manifest = slot, m
			if slot == s.st.Active {
				note(s.raise(m.Fuse)) // a Confirm that was cut short
			}
			return c
		}
		if slot == s.st.Active || !errors.Is(err, fs.ErrNotExist) {
			note(err)
		}
	}
	return c
}

// try starts the slot on trial; false where it may not or cannot run.
func (s *Store) try(to Unpacker, c *Choice, note func(error)) bool {
	slot := s.st.Trial
	if s.st.Tries < 1 {
		note(s.Refuse("it was started as often as it may be, and never proved itself"))
		return false
	}
	st := s.st
	st.Tries--
	if err := s.set(st); err != nil {
		note(err) // who cannot count tries must not make one
		return false
	}
	m, err := s.unpack(slot, to)
	if err != nil {
		note(err)
		note(s.Refuse(err.Error()))
		return false
	}
	c.Slot, c.Trial, c.Manifest = slot, true, m
	return true
}

// order is how slots are tried without a trial: the active one first. Where the
// state was damaged, the newer one; where there never was a state, none: what
// was written there has not even been put on trial.
func (s *Store) order() []Slot {
	switch {
	case s.st.Active != None:
		return []Slot{s.st.Active, s.st.Active.other()}
	case !s.damaged:
		return nil
	case s.version(B) > s.version(A):
		return []Slot{B, A}
	}
	return []Slot{A, B}
}

// version is 0 for a slot whose head cannot be trusted.
func (s *Store) version(slot Slot) uint64 {
	r, f, err := s.open(slot)
	if err != nil {
		return 0
	}
	defer f.Close()
	return r.Manifest.Version
}

// refused tells whether a slot holds what failed its trial.
func (s *Store) refused(slot Slot) bool {
	return s.st.Refused != nil && slot != s.st.Active && s.version(slot) == s.st.Refused.Version
}
