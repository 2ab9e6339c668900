package slots

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/dpmip/dpmip/cross/bundle"
)

// Install writes the bundle of r into the slot that is not running, having
// checked it whole before any name changes. What runs, and what starts next,
// stays as it is until Begin.
func (s *Store) Install(r io.Reader, running Slot) (bundle.Manifest, Slot, error) {
	if s.st.Trial != None {
		return bundle.Manifest{}, None, fmt.Errorf("%w: slot %s", ErrBusy, s.st.Trial)
	}
	if s.fuseErr != nil {
		return bundle.Manifest{}, None, fmt.Errorf("slots: no update without a fuse: %w", s.fuseErr)
	}
	slot := running.other()
	if running == None && s.st.Active != None {
		slot = s.st.Active.other()
	}
	m, err := s.receive(r)
	if err != nil {
		if rm := s.fs.Remove(incomingFile); rm != nil && !errors.Is(rm, fs.ErrNotExist) {
			err = errors.Join(err, rm)
		}
		return m, None, err
	}
	return m, slot, swap(s.fs, incomingFile, slot.file())
}

// receive writes the bundle aside, checks it as it comes, and syncs it.
func (s *Store) receive(r io.Reader) (bundle.Manifest, error) {
	f, err := s.fs.Create(incomingFile)
	if err != nil {
		return bundle.Manifest{}, fmt.Errorf("slots: %s: %w", incomingFile, err)
	}
	w := &copier{w: f}
	b, err := s.check(io.TeeReader(r, w))
	var m bundle.Manifest
	if err == nil {
		m = b.Manifest
		err = b.Files(nil)
	}
	if w.err != nil { // the disk's, not the bundle's
		err = w.err
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return m, fmt.Errorf("slots: update: %w", err)
	}
	return m, nil
}

// copier remembers the error that a TeeReader would report as one of reading.
type copier struct {
	w   io.Writer
	err error
}

func (c *copier) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	if err != nil {
		c.err = err
	}
	return n, err
}

// Begin puts a slot on trial: it is what starts next, at most tries times (>= 1)
// until Confirm. Its own start follows by Boot.
func (s *Store) Begin(slot Slot, tries int) error {
	if slot != A && slot != B || tries < 1 {
		return fmt.Errorf("slots: no trial of slot %q with %d tries", string(slot), tries)
	}
	st := s.st
	st.Trial, st.Tries, st.Refused = slot, tries, nil
	return s.set(st)
}

// Confirm makes the slot on trial the active one and raises the fuse as its
// manifest says. Without a trial it does nothing. Where it fails, the slot stays
// on trial, or is active with the old fuse, which the next Boot makes good.
func (s *Store) Confirm() error {
	if s.st.Trial == None {
		return nil
	}
	r, f, err := s.open(s.st.Trial)
	if err != nil {
		return err
	}
	f.Close()
	if err := s.set(State{Active: s.st.Trial}); err != nil {
		return err
	}
	return s.raise(r.Manifest.Fuse)
}

// raise brings the fuse up to n.
func (s *Store) raise(n uint64) error {
	if n <= s.fuse || s.fuseErr != nil {
		return nil
	}
	if err := writeFuse(s.fs, n); err != nil {
		return err
	}
	s.fuse = n
	return nil
}

// Refuse ends the trial: what was active before is what starts next.
func (s *Store) Refuse(reason string) error {
	if s.st.Trial == None {
		return nil
	}
	refusal := &Refusal{Reason: reason}
	if r, f, err := s.open(s.st.Trial); err == nil {
		refusal.Version, refusal.Release = r.Manifest.Version, r.Manifest.Release
		f.Close()
	}
	return s.set(State{Active: s.st.Active, Refused: refusal})
}

// set makes a state durable and only then believes it.
func (s *Store) set(st State) error {
	if err := writeState(s.fs, st); err != nil {
		return err
	}
	s.st = st
	return nil
}
