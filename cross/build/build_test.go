package main

import (
	"bytes"
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dpmip/dpmip/cross/bundle"
	"github.com/dpmip/dpmip/cross/image"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// Everything is below the top of the checkout, as for make.
	if err := os.Chdir("../.."); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// read gives a file's content.
func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestRelease makes the release twice, each time from an empty folder, compares
// every byte, and installs the agent's package by the card's bf.cfg.
func TestRelease(t *testing.T) {
	if os.Getenv("DPMIP_RELEASE") == "" {
		t.Skip("make release-check runs it: it builds everything, twice")
	}
	key := filepath.Join(t.TempDir(), "key")
	if err := run(context.Background(), []string{"keygen", "-key", key}); err != nil {
		t.Fatal(err)
	}
	var sums []string
	var dir string
	for range 2 {
		out := t.TempDir()
		if err := run(context.Background(), []string{"release", "-out", out, "-key", key, "-release", "v1.2.3", "-epoch", "1700000000"}); err != nil {
			t.Fatal(err)
		}
		dir = filepath.Join(out, "release")
		sums = append(sums, string(read(t, filepath.Join(dir, "SHA256SUMS"))))
	}
	if d := cmp.Diff(sums[0], sums[1]); d != "" {
		t.Errorf("two releases differ:\n%s", d)
	}
	check := exec.Command("sha256sum", "-c", "--quiet", "SHA256SUMS")
	check.Dir = dir
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	complete(t, dir)
	installs(t, dir)
}

// complete holds the folder against what must be in it.
func complete(t *testing.T, dir string) {
	t.Helper()
	for _, name := range []string{
		"dpmip-initramfs.img", "dpmip-firmware.bundle", "dpmip-agent_1.2.3_arm64.oci.tar", "bf.cfg", "build-bfb.sh", "dpmip-agent.pod.yaml", "update.keys",
		"dpmip-agent_1.2.3_arm64.deb", "dpmip-agent_1.2.3_arm64.rpm", "dpmip-mgmt_1.2.3_amd64.deb", "dpmip-router_1.2.3_amd64.rpm", "dpmipctl_1.2.3_arm64.deb",
	} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
		if strings.HasPrefix(name, "dpmip-") && !strings.HasSuffix(name, ".yaml") || strings.HasPrefix(name, "dpmipctl") {
			if _, err := os.Stat(filepath.Join(dir, name+".cdx.json")); err != nil {
				t.Error(err)
			}
		}
	}
	if n := len(read(t, filepath.Join(dir, "dpmip-initramfs.img"))); n > image.MaxSize {
		t.Errorf("the image has %d bytes", n)
	}
	keys, err := bundle.ParsePublic(string(read(t, filepath.Join(dir, "update.keys"))))
	if err != nil {
		t.Fatal(err)
	}
	r, err := bundle.Open(bytes.NewReader(read(t, filepath.Join(dir, "dpmip-firmware.bundle"))), keys...)
	if err == nil {
		err = r.Files(nil)
	}
	if err != nil || r.Manifest.Version != 1700000000 || r.Manifest.Release != "v1.2.3" {
		t.Errorf("bundle: %v", err)
	}
}

// installs puts the package into a root of the test's own, as the card's
// installer does.
func installs(t *testing.T, dir string) {
	t.Helper()
	root := t.TempDir()
	for _, d := range []string{"var/lib/dpkg/updates", "var/lib/dpkg/info"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"var/lib/dpkg/status": "", "var/lib/dpkg/info/format": "1\n"} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	debs := t.TempDir()
	if err := os.WriteFile(filepath.Join(debs, "agent.deb"), read(t, filepath.Join(dir, "dpmip-agent_1.2.3_arm64.deb")), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("bash", "-c", ". "+filepath.Join(dir, "bf.cfg")+"; bfb_modify_os")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH") + ":/sbin:/usr/sbin", "DPMIP_ROOT=" + root, "DPMIP_DIR=" + debs}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "no agent.toml") {
		t.Errorf("%v: %s", err, out)
	}
	for _, name := range []string{"usr/bin/dpmip-agent", "usr/lib/systemd/system/dpmip-agent.service", "etc/dpmip/agent.toml", "usr/share/man/man8/dpmip-agent.8.gz"} {
		if _, err := os.Stat(filepath.Join(root, name)); err != nil {
			t.Error(err)
		}
	}
	unit := string(read(t, filepath.Join(root, "usr/lib/systemd/system/dpmip-agent.service")))
	for _, line := range []string{"Type=notify", "WatchdogSec=", "RuntimeDirectoryPreserve=yes", "NoNewPrivileges=yes"} {
		if !strings.Contains(unit, "\n"+line) {
			t.Errorf("the unit has no %s", line)
		}
	}
	if strings.Contains(unit, "ExecStop") {
		t.Error("something cleans up after the agent")
	}
}

func TestCommandLine(t *testing.T) {
	for name, args := range map[string][]string{"none": nil, "unknown": {"fly"}, "flag": {"keygen", "-colour", "red"}, "no file": {"keygen"}} {
		if err := run(context.Background(), args); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestAKeyIsNeverOverwritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "k", "key")
	if err := newKey(file); err != nil {
		t.Fatal(err)
	}
	before := read(t, file)
	if err := newKey(file); err == nil || !bytes.Equal(before, read(t, file)) {
		t.Errorf("err = %v", err)
	}
	o := options{key: file}
	if _, err := o.signer(); err != nil {
		t.Error(err)
	}
	if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
}
