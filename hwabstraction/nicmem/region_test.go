package nicmem

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/google/go-cmp/cmp"
)

// config is a region in a folder of its own, on tmpfs if there is one.
func config(t testing.TB) Config {
	t.Helper()
	parent := "/dev/shm"
	if _, err := os.Stat(parent); err != nil {
		parent = t.TempDir()
	}
	dir, err := os.MkdirTemp(parent, "nicmem-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return Config{
		Path: filepath.Join(dir, "region"), Size: 1 << 18, BootID: [16]byte{1},
		Areas: []AreaSpec{{Name: "bul"}, {Name: "journal", Size: 1 << 16}},
	}
}

func mustOpen(t testing.TB, c Config) *Region {
	t.Helper()
	r, err := Open(c)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func mustArea(t testing.TB, r *Region, name string) *Area {
	t.Helper()
	a, err := r.Area(name)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func mustClose(t testing.TB, r *Region) {
	t.Helper()
	if err := r.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
}

func TestAreasSurvive(t *testing.T) {
	t.Parallel()
	c := config(t)
	r := mustOpen(t, c)
	bul, journal := mustArea(t, r, "bul"), mustArea(t, r, "journal")
	if r.Origin() != hwabstraction.RegionCreated || r.Size() != c.Size || int64(len(r.Bytes())) != c.Size {
		t.Errorf("origin %v, size %d, %d bytes; want created, %d", r.Origin(), r.Size(), len(r.Bytes()), c.Size)
	}
	if got, want := bul.Size(), int64(1<<18-1<<16-headerSize); got != want || journal.Size() != 1<<16 {
		t.Errorf("areas of %d and %d bytes, want %d and %d", got, journal.Size(), want, 1<<16)
	}
	for _, a := range []*Area{bul, journal} { // every byte: areas do not overlap each other or the header
		copy(a.Bytes(), bytes.Repeat([]byte(a.name[:1]), int(a.Size())))
	}
	if err := errors.Join(bul.Sync(), r.Sync(), bul.Close()); err != nil {
		t.Error(err)
	}
	id := bul.Identity()
	mustClose(t, r)
	mustClose(t, r) // a second Close does nothing

	r = mustOpen(t, c)
	if r.Origin() != hwabstraction.RegionAdopted {
		t.Errorf("origin %v, want adopted", r.Origin())
	}
	for _, name := range []string{"bul", "journal"} {
		a := mustArea(t, r, name)
		if !bytes.Equal(a.Bytes(), bytes.Repeat([]byte(name[:1]), int(a.Size()))) {
			t.Errorf("area %s has changed", name)
		}
	}
	if got := mustArea(t, r, "bul").Identity(); got != id || !strings.HasSuffix(id.String(), "/bul") {
		t.Errorf("identity %v, was %v", got, id)
	}
	if _, err := r.Area("nix"); err == nil || !strings.Contains(err.Error(), "journal (65536 bytes)") {
		t.Errorf("unknown area: %v, want an error that names the known ones", err)
	}
}

func TestRebootDiscards(t *testing.T) {
	t.Parallel()
	c := config(t)
	r := mustOpen(t, c)
	mustArea(t, r, "bul").Bytes()[7] = 1
	mustClose(t, r)
	c.BootID[0]++
	for _, want := range []hwabstraction.RegionOrigin{hwabstraction.RegionRebooted, hwabstraction.RegionAdopted} {
		r = mustOpen(t, c)
		if r.Origin() != want || mustArea(t, r, "bul").Bytes()[7] != 0 {
			t.Errorf("origin %v, byte %d; want %v, 0", r.Origin(), mustArea(t, r, "bul").Bytes()[7], want)
		}
		mustClose(t, r)
	}
}

func TestOneOwner(t *testing.T) {
	t.Parallel()
	c := config(t)
	r := mustOpen(t, c)
	for name, open := range map[string]func(Config) (*Region, error){"Open": Open, "Reformat": Reformat} {
		_, err := open(c)
		if !errors.Is(err, hwabstraction.ErrRegionBusy) {
			t.Errorf("%s: %v, want ErrRegionBusy", name, err)
		}
		if want := fmt.Sprintf("process %d", os.Getpid()); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), c.Path) {
			t.Errorf("%s: %v: want the path and %q in it", name, err, want)
		}
	}
	mustClose(t, r)
	mustOpen(t, c)
}

// damage changes the file's header; the checksum is put right if sign is set.
func damage(t *testing.T, path string, sign bool, f func(b []byte)) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f(b)
	if sign {
		binary.LittleEndian.PutUint32(b[checksumAt:], crc32.Checksum(b[8:checksumAt], castagnoli))
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	le := binary.LittleEndian
	tests := map[string]struct {
		want   error
		config func(*Config)
		sign   bool
		damage func(b []byte)
	}{
		"magic":           {want: hwabstraction.ErrRegionCorrupt, damage: func(b []byte) { b[0] ^= 1 }},
		"bit in the size": {want: hwabstraction.ErrRegionCorrupt, damage: func(b []byte) { b[16] ^= 1 }},
		"checksum":        {want: hwabstraction.ErrRegionCorrupt, damage: func(b []byte) { b[checksumAt] ^= 1 }},
		"newer version":   {want: hwabstraction.ErrRegionVersion, sign: true, damage: func(b []byte) { le.PutUint32(b[8:], headerVersion+1) }},
		"lying size":      {want: hwabstraction.ErrRegionCorrupt, sign: true, damage: func(b []byte) { le.PutUint64(b[16:], 1<<40) }},
		"too many areas":  {want: hwabstraction.ErrRegionCorrupt, sign: true, damage: func(b []byte) { le.PutUint32(b[12:], MaxAreas+1) }},
		"area in header":  {want: hwabstraction.ErrRegionCorrupt, sign: true, damage: func(b []byte) { le.PutUint64(b[areaTableAt+MaxAreaName:], 0) }},
		"area outside":    {want: hwabstraction.ErrRegionCorrupt, sign: true, damage: func(b []byte) { le.PutUint64(b[areaTableAt+MaxAreaName+8:], 1<<63-1) }},
		"other size":      {want: hwabstraction.ErrRegionLayout, config: func(c *Config) { c.Size *= 2 }},
		"other areas":     {want: hwabstraction.ErrRegionLayout, config: func(c *Config) { c.Areas[1].Name = "rules" }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := config(t)
			mustClose(t, mustOpen(t, c))
			if tt.damage != nil {
				damage(t, c.Path, tt.sign, tt.damage)
			} else {
				tt.config(&c)
			}
			before, err := os.ReadFile(c.Path)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Open(c); !errors.Is(err, tt.want) || !strings.Contains(err.Error(), c.Path) {
				t.Errorf("Open: %v, want %v", err, tt.want)
			}
			after, err := os.ReadFile(c.Path)
			if err != nil || !bytes.Equal(before, after) {
				t.Errorf("the refused file was changed (%v)", err)
			}
			r, err := Reformat(c)
			if err != nil {
				t.Fatalf("Reformat: %v", err)
			}
			if r.Origin() != hwabstraction.RegionCreated {
				t.Errorf("origin after Reformat: %v", r.Origin())
			}
			mustClose(t, r)
		})
	}
}

func TestUnfinishedCreation(t *testing.T) {
	t.Parallel()
	c := config(t)
	mustClose(t, mustOpen(t, c))
	damage(t, c.Path, false, func(b []byte) { clear(b[:8]); b[headerSize] = 1 })
	r := mustOpen(t, c)
	if r.Origin() != hwabstraction.RegionCreated || mustArea(t, r, "bul").Bytes()[0] != 0 {
		t.Errorf("origin %v, first byte %d", r.Origin(), mustArea(t, r, "bul").Bytes()[0])
	}
	mustClose(t, r)
	if err := os.Truncate(c.Path, 100); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(c); !errors.Is(err, hwabstraction.ErrRegionCorrupt) {
		t.Errorf("a file of 100 bytes: %v, want ErrRegionCorrupt", err)
	}
}

func TestLayout(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("x", MaxAreaName+1)
	tests := []struct {
		name  string
		size  int64
		areas []AreaSpec
		want  []extent // nil: refused
	}{
		{"rounded up", 1 << 16, []AreaSpec{{"a", 1}, {"b", 4097}}, []extent{{"a", 4096, 4096}, {"b", 8192, 8192}}},
		{"the rest first", 1 << 16, []AreaSpec{{"a", 0}, {"b", 8192}}, []extent{{"a", 4096, 53248}, {"b", 57344, 8192}}},
		{"exactly", 3 * 4096, []AreaSpec{{"a", 4096}, {"b", 0}}, []extent{{"a", 4096, 4096}, {"b", 8192, 4096}}},
		{"no rest", 2 * 4096, []AreaSpec{{"a", 4096}, {"b", 0}}, nil},
		{"too large", 2 * 4096, []AreaSpec{{"a", 4097}}, nil},
		{"overflow", 1 << 16, []AreaSpec{{"a", 1<<63 - 1}}, nil},
		{"negative", 1 << 16, []AreaSpec{{"a", -1}}, nil},
		{"two rests", 1 << 16, []AreaSpec{{"a", 0}, {"b", 0}}, nil},
		{"twice", 1 << 16, []AreaSpec{{"a", 1}, {"a", 1}}, nil},
		{"no name", 1 << 16, []AreaSpec{{"", 1}}, nil},
		{"long name", 1 << 16, []AreaSpec{{big, 1}}, nil},
		{"none", 1 << 16, nil, nil},
		{"no size", 0, []AreaSpec{{"a", 0}}, nil},
	}
	for _, tt := range tests {
		got, err := Config{Areas: tt.areas}.layout(tt.size)
		if (err != nil) != (tt.want == nil) {
			t.Errorf("%s: error %v", tt.name, err)
		}
		if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(extent{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// TestNoRoom asks tmpfs for more than it has.
func TestNoRoom(t *testing.T) {
	t.Parallel()
	c := config(t)
	r := mustOpen(t, c)
	medium := r.Medium()
	mustClose(t, r)
	if medium != "tmpfs" {
		t.Skipf("%s is on %s: only tmpfs has a limit to be sure of", c.Path, medium)
	}
	c.Size = 1 << 45
	if _, err := Reformat(c); !errors.Is(err, hwabstraction.ErrRegionFull) {
		t.Errorf("%v, want ErrRegionFull", err)
	}
	fi, err := os.Stat(c.Path)
	if err != nil || fi.Size() != 0 {
		t.Errorf("the file keeps %d bytes (%v), want 0", fi.Size(), err)
	}
}

func TestNotAFile(t *testing.T) {
	t.Parallel()
	c := config(t)
	if err := os.Symlink("/etc/passwd", c.Path); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(c); err == nil {
		t.Error("followed a symbolic link")
	}
	c.Path = "/dev/null"
	if _, err := Open(c); err == nil {
		t.Error("opened a device")
	}
	c.Path = filepath.Join(t.TempDir(), "nix", "region")
	if _, err := Open(c); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no such folder: %v", err)
	}
}
