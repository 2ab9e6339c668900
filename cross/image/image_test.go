package image

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/dpmip/dpmip/cross/modules"
)

func firmware() Firmware {
	return Firmware{
		Init: bytes.Repeat([]byte("init"), 10000), Release: "v1",
		Programs: map[string][]byte{"dpmip-agent": bytes.Repeat([]byte("agent"), 50000), "dpmipctl": []byte("ctl")},
		Config:   map[string][]byte{"init.toml": []byte("hostname = 'x'\n")},
	}
}

func image(t *testing.T) []byte {
	t.Helper()
	a, err := firmware().Archive()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := Write(&b, a); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestSameBytes(t *testing.T) {
	first := image(t)
	for range 5 { // maps come in another order each time
		if !bytes.Equal(first, image(t)) {
			t.Fatal("two images of the same programs differ")
		}
	}
	z, err := zstd.NewReader(bytes.NewReader(first))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	var back, want bytes.Buffer
	a, err := firmware().Archive()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.WriteTo(&want); err != nil {
		t.Fatal(err)
	}
	if _, err := back.ReadFrom(z); err != nil || !bytes.Equal(back.Bytes(), want.Bytes()) {
		t.Errorf("it does not unpack to the archive: %v", err)
	}
}

func TestWhatIsInIt(t *testing.T) {
	a, err := firmware().Archive()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"init", "dev/console", "usr/bin/dpmip-agent", "usr/bin/dpmip-init", "config/init.toml", "proc", "run"} {
		if !slices.Contains(a.Names(), want) {
			t.Errorf("%s is missing", want)
		}
	}
}

func TestModules(t *testing.T) {
	a, err := Modules([]modules.Info{{Name: "nf_conntrack", Image: []byte("1")}, {Name: "act_ct", Image: []byte("2")}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"lib", "lib/modules", "lib/modules/act_ct.ko", "lib/modules/dpmip.list", "lib/modules/nf_conntrack.ko"}
	if d := cmp.Diff(want, a.Names()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	var b bytes.Buffer
	if _, err := a.WriteTo(&b); err != nil || !strings.Contains(b.String(), "nf_conntrack.ko\nact_ct.ko\n") {
		t.Errorf("the order is lost: %v", err)
	}
}
