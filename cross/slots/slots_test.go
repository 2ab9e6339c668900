package slots

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dpmip/dpmip/cross/bundle"
)

var signing = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))

func testKeys() []ed25519.PublicKey { return []ed25519.PublicKey{signing.Public().(ed25519.PublicKey)} }

func packed(t *testing.T, version, fuse uint64) []byte { return packedFor(t, version, fuse, "arm64") }

func packedFor(t *testing.T, version, fuse uint64, arch string) []byte {
	t.Helper()
	var b bytes.Buffer
	err := bundle.Pack(&b, bundle.Manifest{
		Version: version, Fuse: fuse, Release: fmt.Sprintf("v%d", version), Arch: arch,
		Files: []bundle.File{{Name: "dpmip-agent", Mode: 0o755, Data: []byte(fmt.Sprintf("agent %d", version))}},
	}, signing)
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// discard unpacks to nowhere, and so checks.
func discard(Slot) func(bundle.File) (io.WriteCloser, error) {
	return func(bundle.File) (io.WriteCloser, error) { return nil, nil }
}

// put makes a durable file.
func put(t *testing.T, d *disk, name string, data []byte) {
	t.Helper()
	n := &inode{durable: data, volatile: data}
	d.names[name], d.durable[name] = n, n
}

// cardWith has a confirmed bundle in slot a.
func cardWith(t *testing.T, version uint64) *disk {
	t.Helper()
	d := newDisk()
	put(t, d, A.file(), packed(t, version, version))
	put(t, d, fuseFile, []byte(fmt.Sprint(version)))
	put(t, d, stateFile, []byte(`{"active":"a","trial":"","tries":0}`))
	return d
}

func open(t *testing.T, d FS) *Store {
	t.Helper()
	s, err := Open(d, testKeys(), "arm64")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFirstUpdateOfANewCard(t *testing.T) {
	d := newDisk()
	s := open(t, d)
	if c := s.Boot(discard); c.Slot != None || len(c.Problems) != 0 {
		t.Fatalf("a new card starts %+v", c)
	}
	_, slot, err := s.Install(bytes.NewReader(packed(t, 5, 0)), None)
	if err != nil || slot != A {
		t.Fatalf("slot %v, %v", slot, err)
	}
	if c := open(t, d).Boot(discard); c.Slot != None {
		t.Fatalf("what is not even on trial was started: %+v", c)
	}
	if err := s.Begin(slot, 3); err != nil {
		t.Fatal(err)
	}
	if c := s.Boot(discard); c.Slot != A || !c.Trial || s.State().Tries != 2 {
		t.Fatalf("trial: %+v, %+v", c, s.State())
	}
	if err := s.Confirm(); err != nil {
		t.Fatal(err)
	}
	s = open(t, d)
	if c := s.Boot(discard); c.Slot != A || c.Trial || c.Manifest.Version != 5 || s.Fuse() != 0 {
		t.Fatalf("after: %+v, fuse %d", c, s.Fuse())
	}
}

func TestRefusedUpdateReturns(t *testing.T) {
	d := cardWith(t, 1)
	s := open(t, d)
	_, slot, err := s.Install(bytes.NewReader(packed(t, 2, 2)), A)
	if err != nil || slot != B {
		t.Fatalf("slot %v, %v", slot, err)
	}
	if err := errors.Join(s.Begin(slot, 1), s.Refuse("hangs")); err != nil {
		t.Fatal(err)
	}
	want := State{Active: A, Refused: &Refusal{Version: 2, Release: "v2", Reason: "hangs"}}
	if d := cmp.Diff(want, open(t, d).State()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	// What was refused is not the way out when the active slot goes bad, either.
	put(t, d, A.file(), []byte("rot"))
	if c := open(t, d).Boot(discard); c.Slot != None || len(c.Problems) != 1 {
		t.Errorf("started %+v", c)
	}
}

func TestInstallRefuses(t *testing.T) {
	other := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{8}, ed25519.SeedSize))
	var forged bytes.Buffer
	if err := bundle.Pack(&forged, bundle.Manifest{Version: 9, Arch: "arm64", Files: []bundle.File{{Name: "x"}}}, other); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		data []byte
		want error
	}{
		"forged": {forged.Bytes(), bundle.ErrSignature},
		"old":    {packed(t, 4, 0), ErrFuse},
		"amd64":  {packedFor(t, 9, 0, "amd64"), ErrArch},
		"cut":    {packed(t, 9, 0)[:200], bundle.ErrFormat},
		"text":   {[]byte("a fine day for an update\n"), bundle.ErrFormat},
		"empty":  {nil, bundle.ErrFormat},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := cardWith(t, 5)
			s := open(t, d)
			if _, _, err := s.Install(bytes.NewReader(tt.data), A); !errors.Is(err, tt.want) {
				t.Errorf("err = %v, want %v", err, tt.want)
			}
			if c := open(t, d).Boot(discard); c.Slot != A || c.Manifest.Version != 5 {
				t.Errorf("starts %+v", c)
			}
			if _, left := d.names[incomingFile]; left {
				t.Error("the half is still there")
			}
		})
	}
}

func TestOneUpdateAtATime(t *testing.T) {
	s := open(t, cardWith(t, 1))
	_, slot, err := s.Install(bytes.NewReader(packed(t, 2, 0)), A)
	if err := errors.Join(err, s.Begin(slot, 1)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Install(bytes.NewReader(packed(t, 3, 0)), A); !errors.Is(err, ErrBusy) {
		t.Errorf("err = %v", err)
	}
}

// TestFullPartition leaves less and less room: the card says so, starts what it
// had, and takes the update once there is room.
func TestFullPartition(t *testing.T) {
	update := packed(t, 2, 2)
	for room := range len(update) + 200 {
		d := cardWith(t, 1)
		d.room = room
		s := open(t, d)
		_, slot, err := s.Install(bytes.NewReader(update), A)
		if err == nil {
			err = s.Begin(slot, 1)
		}
		d.room = -1
		if err == nil {
			if room < len(update) {
				t.Fatalf("%d bytes were enough for %d", room, len(update))
			}
			continue
		}
		if !errors.Is(err, errFull) {
			t.Fatalf("room %d: %v", room, err)
		}
		if c := open(t, d).Boot(discard); c.Slot != A || c.Manifest.Version != 1 {
			t.Fatalf("room %d: starts %+v", room, c)
		}
		if _, _, err := open(t, d).Install(bytes.NewReader(update), A); err != nil {
			t.Fatalf("room %d: with room again: %v", room, err)
		}
	}
}

func TestAFullPartitionMakesNoTrial(t *testing.T) {
	d := cardWith(t, 1)
	s := open(t, d)
	_, slot, err := s.Install(bytes.NewReader(packed(t, 2, 2)), A)
	if err := errors.Join(err, s.Begin(slot, 1)); err != nil {
		t.Fatal(err)
	}
	d.room = 0
	c := s.Boot(discard)
	if c.Trial || c.Slot != A || len(c.Problems) == 0 || !errors.Is(c.Problems[0], errFull) {
		t.Errorf("started %+v, though the try could not be counted", c)
	}
}

// TestCorruptSlot damages the active slot in every byte.
func TestCorruptSlot(t *testing.T) {
	good := packed(t, 1, 1)
	for i := 0; i < len(good); i += 7 {
		d := cardWith(t, 1)
		put(t, d, B.file(), packed(t, 2, 0))
		bad := bytes.Clone(good)
		bad[i] ^= 0x81
		put(t, d, A.file(), bad)
		c := open(t, d).Boot(discard)
		switch {
		case c.Slot == B && len(c.Problems) == 1 && strings.Contains(c.Problems[0].Error(), "slots: a: "):
		case c.Slot == A && c.Manifest.Version == 1: // a bit that carries nothing
		default:
			t.Fatalf("byte %d: %+v", i, c)
		}
	}
}

func TestDamagedStateStartsTheNewestGoodSlot(t *testing.T) {
	for _, text := range []string{"{", `{"active":"c"}`, "\x00\x00"} {
		d := cardWith(t, 1)
		put(t, d, B.file(), packed(t, 2, 0))
		put(t, d, stateFile, []byte(text))
		s, err := Open(d, testKeys(), "arm64")
		if !errors.Is(err, ErrState) {
			t.Errorf("%q: err = %v", text, err)
		}
		if c := s.Boot(discard); c.Slot != B {
			t.Errorf("%q: started %+v", text, c)
		}
	}
}

func TestDamagedFuseStopsUpdatesOnly(t *testing.T) {
	d := cardWith(t, 1)
	put(t, d, fuseFile, []byte("seven"))
	s, err := Open(d, testKeys(), "arm64")
	if !errors.Is(err, ErrState) {
		t.Errorf("err = %v", err)
	}
	if c := s.Boot(discard); c.Slot != A {
		t.Errorf("started %+v", c)
	}
	if _, _, err := s.Install(bytes.NewReader(packed(t, 2, 0)), A); err == nil {
		t.Error("an update was taken without a fuse")
	}
}

func TestSlotBelowTheFuseDoesNotRun(t *testing.T) {
	d := cardWith(t, 5)
	put(t, d, B.file(), packed(t, 4, 0))
	put(t, d, A.file(), []byte("rot"))
	if c := open(t, d).Boot(discard); c.Slot != None {
		t.Errorf("started %+v", c)
	}
}

func TestConfirmCutShortRaisesTheFuseLater(t *testing.T) {
	d := cardWith(t, 3)
	put(t, d, fuseFile, []byte("1"))
	s := open(t, d)
	if s.Boot(discard); s.Fuse() != 3 {
		t.Errorf("fuse %d", s.Fuse())
	}
}

// TestRealFolder runs an update on a real file system.
func TestRealFolder(t *testing.T) {
	dir := Dir(t.TempDir())
	s := open(t, dir)
	for v := uint64(1); v <= 3; v++ {
		running := s.State().Active
		_, slot, err := s.Install(bytes.NewReader(packed(t, v, v)), running)
		if err := errors.Join(err, s.Begin(slot, 1)); err != nil {
			t.Fatal(err)
		}
		if c := s.Boot(discard); !c.Trial || c.Slot == running {
			t.Fatalf("version %d: %+v", v, c)
		}
		if err := s.Confirm(); err != nil {
			t.Fatal(err)
		}
	}
	s = open(t, dir)
	if c := s.Boot(discard); c.Manifest.Version != 3 || s.Fuse() != 3 || c.Slot != A {
		t.Errorf("%+v, fuse %d", c, s.Fuse())
	}
}
