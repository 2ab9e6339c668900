package bundle

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// testKey is always the same, so that failures can be replayed.
func testKey(b byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{b}, ed25519.SeedSize))
}

func public(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

func sample() Manifest {
	return Manifest{
		Version: 7, Fuse: 5, Release: "v0.7.0", Arch: "arm64",
		Files: []File{
			{Name: "dpmip-agent", Mode: 0o755, Data: bytes.Repeat([]byte("agent"), 5000)},
			{Name: "empty", Mode: 0o644},
			{Name: "dpmipctl", Mode: 0o755, Data: []byte("ctl")},
		},
	}
}

func packed(t *testing.T, m Manifest) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Pack(&b, m, testKey(1)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// nopCloser keeps what is written to it.
type nopCloser struct{ *bytes.Buffer }

func (nopCloser) Close() error { return nil }

// read opens and reads a bundle; the files' contents by name.
func read(data []byte, keys ...ed25519.PublicKey) (map[string]string, Manifest, error) {
	r, err := Open(bytes.NewReader(data), keys...)
	if err != nil {
		return nil, Manifest{}, err
	}
	bufs := map[string]*bytes.Buffer{}
	err = r.Files(func(f File) (io.WriteCloser, error) {
		bufs[f.Name] = &bytes.Buffer{}
		return nopCloser{bufs[f.Name]}, nil
	})
	out := map[string]string{}
	for name, b := range bufs {
		out[name] = b.String()
	}
	return out, r.Manifest, err
}

func TestRoundTrip(t *testing.T) {
	want := sample()
	got, m, err := read(packed(t, want), public(testKey(2)), public(testKey(1)))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range want.Files {
		if d := cmp.Diff(string(f.Data), got[f.Name]); d != "" {
			t.Errorf("%s (-want +got):\n%s", f.Name, d)
		}
	}
	if m.Version != 7 || m.Fuse != 5 || m.File("dpmipctl").Size != 3 || m.File("other") != nil {
		t.Errorf("manifest %+v", m)
	}
	if !bytes.Equal(packed(t, want), packed(t, want)) {
		t.Error("two packings differ")
	}
}

func TestOtherKeyRefused(t *testing.T) {
	if _, _, err := read(packed(t, sample()), public(testKey(2))); !errors.Is(err, ErrSignature) {
		t.Errorf("err = %v", err)
	}
	if _, _, err := read(packed(t, sample())); !errors.Is(err, ErrSignature) {
		t.Errorf("without keys: %v", err)
	}
}

// TestEveryDamageIsSeen flips a bit of each byte, and cuts at each length. A bit
// that means nothing (in gzip's header, in the padding of a block) may pass, if
// the files are what was signed.
func TestEveryDamageIsSeen(t *testing.T) {
	good := packed(t, sample())
	key := public(testKey(1))
	want, _, err := read(good, key)
	if err != nil {
		t.Fatal(err)
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 0x40
		got, _, err := read(bad, key)
		switch {
		case err == nil && !cmp.Equal(want, got):
			t.Errorf("byte %d changed: accepted with other content", i)
		case err != nil && !errors.Is(err, ErrFormat) && !errors.Is(err, ErrSignature):
			t.Errorf("byte %d changed: %v", i, err)
		}
	}
	for n := range good {
		if _, _, err := read(good[:n], key); !errors.Is(err, ErrFormat) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
	if _, _, err := read(append(bytes.Clone(good), 0), key); !errors.Is(err, ErrFormat) {
		t.Errorf("a byte after the end: %v", err)
	}
}

func TestPackRefuses(t *testing.T) {
	tests := map[string]func(*Manifest){
		"no version":  func(m *Manifest) { m.Version = 0; m.Fuse = 0 },
		"high fuse":   func(m *Manifest) { m.Fuse = 8 },
		"no files":    func(m *Manifest) { m.Files = nil },
		"slash":       func(m *Manifest) { m.Files[0].Name = "a/b" },
		"dots":        func(m *Manifest) { m.Files[0].Name = ".." },
		"twice":       func(m *Manifest) { m.Files[1].Name = m.Files[0].Name },
		"set-user-id": func(m *Manifest) { m.Files[0].Mode = 0o4755 },
		"many":        func(m *Manifest) { m.Files = make([]File, maxFiles+1) },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			m := sample()
			change(&m)
			if err := Pack(io.Discard, m, testKey(1)); !errors.Is(err, ErrFormat) {
				t.Errorf("err = %v", err)
			}
		})
	}
	if err := Pack(io.Discard, sample(), nil); err == nil {
		t.Error("packed without a key")
	}
}

// full refuses to be written to.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left") }
func (full) Close() error              { return nil }

func TestAWriterThatFailsIsNoDamage(t *testing.T) {
	r, err := Open(bytes.NewReader(packed(t, sample())), public(testKey(1)))
	if err != nil {
		t.Fatal(err)
	}
	err = r.Files(func(File) (io.WriteCloser, error) { return full{}, nil })
	if err == nil || errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "dpmip-agent: no space left") {
		t.Errorf("err = %v", err)
	}
}

func TestKeyFiles(t *testing.T) {
	k := testKey(3)
	priv, err := ParsePrivate(FormatPrivate(k))
	if err != nil || !priv.Equal(k) {
		t.Errorf("private: %v", err)
	}
	pubs, err := ParsePublic("# the old one\n" + FormatPublic(public(k)) + "\n" + FormatPublic(public(testKey(4))))
	if err != nil || len(pubs) != 2 || !pubs[0].Equal(public(k)) {
		t.Errorf("public: %v, %v", pubs, err)
	}
	for name, text := range map[string]string{
		"empty": "# nothing\n", "word": FormatPrivate(k), "short": publicWord + " 00ff\n", "digits": publicWord + " zz\n",
	} {
		if _, err := ParsePublic(text); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := ParsePrivate(FormatPrivate(k) + FormatPrivate(k)); err == nil {
		t.Error("two signing keys accepted")
	}
}

func FuzzOpen(f *testing.F) {
	var b bytes.Buffer
	if err := Pack(&b, sample(), testKey(1)); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, m, err := read(data, public(testKey(1)))
		if err != nil {
			return
		}
		for _, file := range m.Files {
			if int64(len(got[file.Name])) != file.Size {
				t.Errorf("%s: %d bytes, signed %d", file.Name, len(got[file.Name]), file.Size)
			}
		}
	})
}
