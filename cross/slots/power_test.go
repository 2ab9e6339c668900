package slots

import (
	"bytes"
	"errors"
	"testing"

	"github.com/dpmip/dpmip/cross/bundle"
)

// life is a card's story; each verb is something that a power cut can hit. It
// returns how far the promise has come: the lowest version that must start.
type life struct {
	d      *disk
	t      *testing.T
	lowest uint64 // nothing older may start
	newest uint64 // nothing newer may start
}

// run tells the story up to the power cut, which it reports by false.
func (l *life) run(story func(l *life) error) bool {
	err := story(l)
	if err != nil && !errors.Is(err, errCut) {
		l.t.Fatalf("the story failed by itself: %v", err)
	}
	return err == nil
}

// update goes from the confirmed version 1 to version 2.
func update(l *life) error {
	s, err := Open(l.d, testKeys(), "arm64")
	if err != nil {
		return err
	}
	l.newest = 2
	_, slot, err := s.Install(bytes.NewReader(packed(l.t, 2, 2)), A)
	if err != nil {
		return err
	}
	if err := s.Begin(slot, 2); err != nil {
		return err
	}
	if c := s.Boot(discard); !c.Trial {
		return errors.Join(c.Problems...)
	}
	if err := s.Confirm(); err != nil {
		return err
	}
	l.lowest = 2
	return nil
}

// refuse does the same, and finds version 2 bad.
func refuse(l *life) error {
	s, err := Open(l.d, testKeys(), "arm64")
	if err != nil {
		return err
	}
	l.newest = 2
	_, slot, err := s.Install(bytes.NewReader(packed(l.t, 2, 2)), A)
	if err != nil {
		return err
	}
	if err := s.Begin(slot, 2); err != nil {
		return err
	}
	if c := s.Boot(discard); !c.Trial {
		return errors.Join(c.Problems...)
	}
	if err := s.Refuse("it hangs"); err != nil {
		return err
	}
	l.newest = 1
	return nil
}

// TestPowerCutAtEveryStep cuts the power before each operation on the disk, in
// an update that succeeds and in one that fails, and starts every disk that
// such a cut can leave: each must start a whole, signed bundle between the
// promised bounds, count its trial down to the old one, and take the same
// update once more.
func TestPowerCutAtEveryStep(t *testing.T) {
	for name, story := range map[string]func(*life) error{"update": update, "refuse": refuse} {
		t.Run(name, func(t *testing.T) {
			disks, steps := 0, 0
			for cut, done := 0, false; !done; cut++ {
				l := &life{d: cardWith(t, 1), t: t, lowest: 1, newest: 1}
				l.d.cut = cut
				done = l.run(story)
				for _, d := range l.d.survivors() {
					disks++
					starts(t, d, cut, l.lowest, l.newest)
				}
				steps++
			}
			if steps < 20 || disks < 100 {
				t.Errorf("only %d steps and %d disks were tried: the story is not enumerated", steps, disks)
			}
			t.Logf("%d steps, %d disks", steps, disks)
		})
	}
}

// starts boots a disk that has survived until only what is confirmed is left,
// and then updates it.
func starts(t *testing.T, d *disk, cut int, lowest, newest uint64) {
	t.Helper()
	for range 4 { // more starts than a trial has tries
		s, err := Open(d, testKeys(), "arm64")
		if err != nil {
			t.Fatalf("cut %d: the state is damaged: %v", cut, err)
		}
		c := s.Boot(discard)
		if c.Slot == None || c.Manifest.Version < lowest || c.Manifest.Version > newest {
			t.Fatalf("cut %d: started slot %v, version %d, want %d to %d; %v", cut, c.Slot, c.Manifest.Version, lowest, newest, c.Problems)
		}
	}
	s, err := Open(d, testKeys(), "arm64")
	if err != nil {
		t.Fatal(err)
	}
	c := s.Boot(discard)
	if c.Trial {
		t.Fatalf("cut %d: still on trial after four starts", cut)
	}
	_, slot, err := s.Install(bytes.NewReader(packed(t, 3, 3)), c.Slot)
	if err != nil {
		t.Fatalf("cut %d: the next update: %v", cut, err)
	}
	if err := s.Begin(slot, 1); err != nil {
		t.Fatal(err)
	}
	if c := s.Boot(discard); !c.Trial || c.Manifest.Version != 3 {
		t.Fatalf("cut %d: the next update does not start: %+v", cut, c)
	}
	if err := s.Confirm(); err != nil || s.Fuse() != 3 {
		t.Fatalf("cut %d: the next update: %v, fuse %d", cut, err, s.Fuse())
	}
}

// TestAReplaceWithoutSyncIsCaught holds the fake disk against the mistake that
// it is there to find: renamed before synced.
func TestAReplaceWithoutSyncIsCaught(t *testing.T) {
	d := cardWith(t, 1)
	f, err := d.Create("new")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(packed(t, 2, 2)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.Rename("new", A.file()), d.SyncDir()); err != nil {
		t.Fatal(err)
	}
	broken := 0
	for _, s := range d.survivors() {
		st, err := Open(s, testKeys(), "arm64")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := st.unpack(A, discard); errors.Is(err, bundle.ErrFormat) {
			broken++
		}
	}
	if broken == 0 {
		t.Error("no disk lost the content: the fake cannot find the mistake")
	}
}
