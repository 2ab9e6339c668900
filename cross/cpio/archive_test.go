package cpio

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fill adds the same files in an order of its own.
func fill(t *testing.T, a *Archive, order ...int) {
	t.Helper()
	add := []func() error{
		func() error { return a.File("init", 0o755, []byte("#!")) },
		func() error { return a.File("etc/dpmip/agent.toml", 0o640, []byte("name = 'x'\n")) },
		func() error { return a.Dir("etc/dpmip", 0o750) },
		func() error { return a.Link("sbin/init", "../init") },
		func() error { return a.Char("dev/console", 0o600, 5, 1) },
		func() error { return a.File("empty", 0o644, nil) },
	}
	for _, i := range order {
		if err := add[i](); err != nil {
			t.Fatal(err)
		}
	}
}

func bytesOf(t *testing.T, a *Archive) []byte {
	t.Helper()
	var b bytes.Buffer
	n, err := a.WriteTo(&b)
	if err != nil || n != int64(b.Len()) {
		t.Fatalf("WriteTo = %d, %v with %d bytes", n, err, b.Len())
	}
	return b.Bytes()
}

func TestSameContentSameBytes(t *testing.T) {
	var a, b Archive
	fill(t, &a, 0, 1, 2, 3, 4, 5)
	fill(t, &b, 5, 2, 4, 1, 0, 3)
	if !bytes.Equal(bytesOf(t, &a), bytesOf(t, &b)) {
		t.Error("the order of adding shows in the bytes")
	}
	want := []string{"dev", "dev/console", "empty", "etc", "etc/dpmip", "etc/dpmip/agent.toml", "init", "sbin", "sbin/init"}
	if d := cmp.Diff(want, a.Names()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestHeader holds one entry against the layout of the kernel's
// Documentation/driver-api/early-userspace/buffer-format.rst.
func TestHeader(t *testing.T) {
	var a Archive
	if err := a.File("ab", 0o640, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	want := "070701" + "00000001" + "000081a0" + "00000000" + "00000000" + "00000001" + "00000000" + "00000005" +
		"00000000" + "00000000" + "00000000" + "00000000" + "00000003" + "00000000" + "ab\x00" + "\x00\x00\x00" + "hello\x00\x00\x00"
	if got := string(bytesOf(t, &a)); !strings.HasPrefix(got, want) {
		t.Errorf("got  %q\nwant %q", got[:len(want)], want)
	}
}

func TestRefused(t *testing.T) {
	var a Archive
	fill(t, &a, 0, 1)
	for name, err := range map[string]error{
		"twice":        a.File("init", 0o644, nil),
		"absolute":     a.File("/x", 0o644, nil),
		"parent":       a.File("../x", 0o644, nil),
		"unclean":      a.File("a//b", 0o644, nil),
		"empty":        a.Dir("", 0o755),
		"below a file": a.File("init/x", 0o644, nil),
	} {
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
