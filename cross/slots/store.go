package slots

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"

	"github.com/dpmip/dpmip/cross/bundle"
)

// Errors of Install that callers tell apart.
var (
	ErrFuse = errors.New("slots: older than the card's fuse allows")
	ErrArch = errors.New("slots: made for another processor")
	ErrBusy = errors.New("slots: an update is on trial")
)

// Store is the two slots. One process uses it, one call at a time.
type Store struct {
	fs   FS
	keys []ed25519.PublicKey
	arch string
	st   State
	fuse uint64
	// fuseErr is why the fuse could not be read: bundles run, but none is taken.
	fuseErr error
	damaged bool // the state could not be understood
}

// Open reads what is there. A damaged state counts as none (the error then is
// ErrState, and the Store is usable: the newest good slot runs).
func Open(fsys FS, keys []ed25519.PublicKey, arch string) (*Store, error) {
	s := &Store{fs: fsys, keys: keys, arch: arch}
	var err error
	s.fuse, s.fuseErr = readFuse(fsys)
	s.st, err = readState(fsys)
	s.damaged = err != nil
	return s, errors.Join(err, s.fuseErr)
}

// State is what is remembered.
func (s *Store) State() State { return s.st }

// Fuse is the lowest version that may run.
func (s *Store) Fuse() uint64 { return s.fuse }

// open starts to read a slot's bundle, checked up to its signature, processor
// and version.
func (s *Store) open(slot Slot) (*bundle.Reader, io.Closer, error) {
	f, err := s.fs.Open(slot.file())
	if err != nil {
		return nil, nil, fmt.Errorf("slots: %s: %w", slot, err)
	}
	r, err := s.check(f)
	if err != nil {
		f.Close()
		return nil, nil, fmt.Errorf("slots: %s: %w", slot, err)
	}
	return r, f, nil
}

// check opens a bundle and holds it against the card.
func (s *Store) check(r io.Reader) (*bundle.Reader, error) {
	b, err := bundle.Open(r, s.keys...)
	if err != nil {
		return nil, err
	}
	switch m := &b.Manifest; {
	case m.Arch != s.arch:
		return nil, fmt.Errorf("%w: %s, this is %s", ErrArch, m.Arch, s.arch)
	case m.Version < s.fuse:
		return nil, fmt.Errorf("%w: version %d, fuse %d", ErrFuse, m.Version, s.fuse)
	}
	return b, nil
}

// Unpacker says where to put the files of a slot about to be started; it is
// called before each of them.
type Unpacker func(Slot) func(bundle.File) (io.WriteCloser, error)

// unpack reads a whole slot; only without an error is everything as signed.
func (s *Store) unpack(slot Slot, to Unpacker) (bundle.Manifest, error) {
	r, f, err := s.open(slot)
	if err != nil {
		return bundle.Manifest{}, err
	}
	defer f.Close()
	if err := r.Files(to(slot)); err != nil {
		return bundle.Manifest{}, fmt.Errorf("slots: %s: %w", slot, err)
	}
	return r.Manifest, nil
}
