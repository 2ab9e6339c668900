package software

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/dpmip/dpmip/internal/kernelbtf"
)

// TestProgramsAreTaken opens a device again: its programs are those that it had,
// unless they would be others or use other maps.
func TestProgramsAreTaken(t *testing.T) {
	t.Parallel()
	_, l := host(t, nil)
	pins := func() []string {
		names, err := filepath.Glob(filepath.Join(l.dev[0].tables.dir, programPins+"*"))
		l.must(err)
		return names
	}
	before, had := programIDs(t, l.dev[0]), pins()
	var options uint32
	l.must(kernelbtf.Use(func(types *btf.Cache) error {
		options = conntrackOptions(types)
		return nil
	}))
	if len(had) != 2 {
		t.Fatalf("pins: %v", had)
	}
	for _, tt := range []struct {
		name   string
		change func(*Config)
		same   bool
	}{
		{"as it was", func(*Config) {}, true},
		{"another mark", func(c *Config) { c.Mark = 0x11 }, false},
		{"the first mark again", func(*Config) {}, false},
		{"a pin is gone", func(*Config) { l.must(os.Remove(pins()[1])) }, false},
		{"a map was made anew", func(*Config) { l.must(os.Remove(filepath.Join(l.dev[0].tables.dir, "drops"))) }, false},
		{"as it was then", func(*Config) {}, true},
	} {
		l.must(l.dev[0].Close())
		c := l.config(0)
		tt.change(&c)
		d, err := Open(c)
		l.must(err)
		t.Cleanup(func() { d.Close() })
		l.dev[0] = d
		now := programIDs(t, d)
		if diff := cmp.Diff(before, now); (diff == "") != tt.same {
			t.Errorf("%s: the same programs: %v, want %v", tt.name, diff == "", tt.same)
		}
		if names := pins(); len(names) != 2 {
			t.Errorf("%s: pins %v", tt.name, names)
		}
		if d.tables.conntrack != options {
			t.Errorf("%s: conntrack options of %d bytes, the kernel's types say %d", tt.name, d.tables.conntrack, options)
		}
		before = now
		port, err := d.portIndex("fab0")
		l.must(err)
		if !d.attached(port, 0) {
			t.Errorf("%s: no program on the fabric port", tt.name)
		}
	}
}

func programIDs(t *testing.T, d *Device) (out []ebpf.ProgramID) {
	t.Helper()
	for _, p := range []*ebpf.Program{d.tables.FabricIn, d.tables.VmIn} {
		info, err := p.Info()
		if err != nil {
			t.Fatal(err)
		}
		id, ok := info.ID()
		if !ok {
			t.Fatal("a program without a number")
		}
		out = append(out, id)
	}
	return out
}
