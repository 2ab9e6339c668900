package modules

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// module builds the smallest ELF file that has a .modinfo section.
func module(info string) []byte {
	const names = "\x00.modinfo\x00.shstrtab\x00"
	var b bytes.Buffer
	le := binary.LittleEndian
	header := make([]byte, 64)
	copy(header, "\x7fELF\x02\x01\x01")
	le.PutUint16(header[16:], 1)    // relocatable
	le.PutUint16(header[18:], 0xb7) // AArch64
	le.PutUint32(header[20:], 1)
	le.PutUint64(header[40:], uint64(64+len(info)+len(names))) // section headers
	le.PutUint16(header[52:], 64)
	le.PutUint16(header[58:], 64)
	le.PutUint16(header[60:], 3)
	le.PutUint16(header[62:], 2)
	b.Write(header)
	b.WriteString(info + names)
	section := func(name, kind uint32, at, size int) {
		s := make([]byte, 64)
		le.PutUint32(s, name)
		le.PutUint32(s[4:], kind)
		le.PutUint64(s[24:], uint64(at))
		le.PutUint64(s[32:], uint64(size))
		b.Write(s)
	}
	section(0, 0, 0, 0)
	section(1, 1, 64, len(info))
	section(10, 3, 64+len(info), len(names))
	return b.Bytes()
}

func file(info string) *fstest.MapFile { return &fstest.MapFile{Data: module(info)} }

// plain stands for the decompressor.
func plain(_ string, b []byte) ([]byte, error) { return b, nil }

func tree() fstest.MapFS {
	return fstest.MapFS{
		"kernel/net/sched/act_ct.ko.xz":   file("license=GPL\x00depends=nf-conntrack,nf_flow_table\x00"),
		"kernel/net/nf_conntrack.ko.xz":   file("depends=libcrc32c\x00"),
		"kernel/net/nf_flow_table.ko":     file("depends=nf_conntrack\x00"),
		"kernel/lib/loop-a.ko":            file("depends=loop_b\x00"),
		"kernel/lib/loop_b.ko":            file("depends=loop_a\x00"),
		"kernel/lib/needs_more.ko":        file("depends=gone\x00"),
		"kernel/net/veth.ko.xz":           file("depends=\x00"),
		"modules.order":                   {Data: []byte("x")},
		"kernel/drivers/net/not_a_module": {Data: []byte("x")},
	}
}

func TestResolve(t *testing.T) {
	got, err := Resolve(tree(), "kernel/lib/libcrc32c.ko\nkernel/fs/ext4/ext4.ko\n", plain, []string{"veth", "act_ct", "ext4", "nf_conntrack"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range got {
		names = append(names, m.Name)
	}
	if d := cmp.Diff([]string{"veth", "nf_conntrack", "nf_flow_table", "act_ct"}, names); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestResolveRefuses(t *testing.T) {
	for want, text := range map[string]string{
		"nothing":    "the kernel has no nothing",
		"loop-a":     "depends on itself",
		"needs_more": "the kernel has no gone (for needs_more)",
	} {
		if _, err := Resolve(tree(), "", plain, []string{want}); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestList(t *testing.T) {
	got, err := List(strings.NewReader("# order\nveth.ko\n\n  act_ct.ko.xz # with conntrack\n"))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"veth.ko", "act_ct.ko.xz"}, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestLoadTellsEveryFailure(t *testing.T) {
	dir := t.TempDir()
	if n, err := Load(dir, "list"); n != 0 || err != nil {
		t.Errorf("without a list: %d, %v", n, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "list"), []byte("gone.ko\nbad.ko\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "bad.ko"), []byte("not ELF"), 0o600); err != nil {
		t.Fatal(err)
	}
	n, err := Load(dir, "list")
	if n != 0 || err == nil || !strings.Contains(err.Error(), "gone.ko") || !strings.Contains(err.Error(), "bad.ko") {
		t.Errorf("%d, %v", n, err)
	}
}
