package qemu

import (
	"bytes"
	"crypto/ed25519"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/dpmip/dpmip/cross/bundle"
	"github.com/dpmip/dpmip/cross/cpio"
	"github.com/dpmip/dpmip/cross/image"
)

// out is where make firmware has put things.
const out = "../../out"

var (
	signing = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{11}, ed25519.SeedSize))
	forger  = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{12}, ed25519.SeedSize))
)

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// arm64 builds programs for the card and gives the folder they are in.
func arm64(t *testing.T, packages ...string) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("go", append([]string{"build", "-trimpath", "-ldflags", "-s -w", "-o", dir + "/"}, packages...)...)
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0")
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	return dir
}

// payload makes the second initrd: a scenario with what it needs.
func payload(t *testing.T, bin, scenario string) string {
	t.Helper()
	a := &cpio.Archive{}
	add := func(name string, perm uint32, data []byte) {
		if err := a.File("payload/"+name, perm, data); err != nil {
			t.Fatal(err)
		}
	}
	guest, agent := read(t, filepath.Join(bin, "guest")), read(t, filepath.Join(out, "bin/arm64/dpmip-agent"))
	crash := read(t, filepath.Join(out, "bin/arm64/dpmip-init")) // as an agent: a wrong command line
	add("run", 0o755, guest)
	add("scenario", 0o644, []byte(scenario))
	add("dpmip-mgmt", 0o755, read(t, filepath.Join(bin, "dpmip-mgmt")))
	for _, name := range []string{"mgmt.toml", "inventory.toml"} {
		add(name, 0o600, read(t, "testdata/"+name))
	}
	for _, b := range []struct {
		name    string
		version uint64
		fuse    uint64
		agent   []byte
		key     ed25519.PrivateKey
	}{
		{"good", 2, 2, agent, signing},
		{"forged", 3, 0, agent, forger},
		{"older", 1, 0, agent, signing},
		{"crashes", 3, 3, crash, signing},
		{"hangs", 4, 4, guest, signing},
		{"better", 5, 5, agent, signing},
	} {
		var packed bytes.Buffer
		err := bundle.Pack(&packed, bundle.Manifest{
			Version: b.version, Fuse: b.fuse, Release: b.name, Arch: "arm64",
			Files: []bundle.File{{Name: "dpmip-agent", Mode: 0o755, Data: b.agent}},
		}, b.key)
		if err != nil {
			t.Fatal(err)
		}
		add(b.name+".bundle", 0o600, packed.Bytes())
	}
	file := filepath.Join(t.TempDir(), "payload.img")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := image.Write(f, a); err != nil {
		t.Fatal(err)
	}
	return file
}

// disk makes the configuration partition.
func disk(t *testing.T) string {
	t.Helper()
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "config.img")
	for _, name := range []string{"init.toml", "agent.toml"} {
		write(t, filepath.Join(dir, name), read(t, "testdata/"+name))
	}
	write(t, filepath.Join(dir, "update.keys"), []byte(bundle.FormatPublic(signing.Public().(ed25519.PublicKey))))
	cmd := exec.Command("/sbin/mke2fs", "-q", "-t", "ext4", "-L", "DPMIP-CONFIG", "-d", dir, file, "96M")
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	return file
}
